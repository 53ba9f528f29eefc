"""Claims `closure.*`, one per optimizer: the trained weights from W(0) and signature histories alone.

A network is trained by the library; the weights are rebuilt from the recorded signatures by the closed form that the
claim derives, written here a second time as an explicit sum over the history; and they are compared with a third party,
torch's own optimizer where it has one. A residual that no signature can see is added to a second run: it must come out
as the claim says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rctheory.dynamics import Network, Signatures, risk, train
from rctheory.dynamics.optimizers import Update
from rctheory.numerics import generator
from verification.random_networks import largest, random_data, random_network, relative_error

WIDTHS = (3, 64, 56, 2)
DATA, STEPS, STEP = 4, 6, 0.1
MIDDLE = 1  # index of the one matrix between two growing axes


@dataclass(frozen=True)
class History:
    """What the closed forms may see: masses, step, and the signature pairs (d, a) of every step for one layer.

    Args:
        pairs: (B, n_l) deltas and (B, n_{l-1}) activations, one pair a step.
        rows: masses of the rows, (n_l,).
        columns: masses of the columns, (n_{l-1},).
        others: histories of all layers, for what couples them (a global norm).
    """

    pairs: Sequence[tuple[Tensor, Tensor]]
    rows: Tensor
    columns: Tensor
    others: "Sequence[History]" = ()

    def gradients(self) -> list[Tensor]:
        """Return g_ij(t) = E_x[d_i a_j] for every step."""
        return [d.T @ a / len(d) for d, a in self.pairs]

    def norms(self) -> list[Tensor]:
        """Return sum_ij p_i p_j g_ij^2 for every step, from the Gram matrices of the signatures (no n x n matrix)."""
        found = []
        for d, a in self.pairs:
            grams = ((d * self.rows) @ d.T) * ((a * self.columns) @ a.T)
            found.append(grams.sum() / len(d) ** 2)
        return found


Closed = Callable[[Tensor, History], Tensor]
"""The closed form: from W(0) and the history to W(T)."""
Twin = Callable[[Sequence[Tensor]], torch.optim.Optimizer]
"""A third-party optimizer over leaves whose gradients will be the mean-field gradients."""


@dataclass(frozen=True)
class Case:
    """One optimizer: how the library, the closed form and torch run it, and what becomes of the residual.

    Args:
        updates: the library's chain of updates.
        closed: W(T) from W(0) and the history.
        twin: torch's own optimizer, where it has one.
        kept: the factor by which a residual is multiplied over the whole run (1: frozen).
        batches: number of data in each mini-batch; None for the full batch.
    """

    updates: tuple[Update, ...]
    closed: Closed
    twin: Twin | None = None
    kept: float = 1.0
    batches: int | None = None


def run(case: Case, seed: int) -> tuple[float, float]:
    """Return the relative errors of the rebuilt weights and of the residual that is carried along."""
    stream = generator(seed, "closures")
    network = random_network(WIDTHS, stream)
    x, y = random_data(WIDTHS[0], WIDTHS[-1], DATA, stream)
    trained, histories = record(case, network, x, y, seed)
    rebuilt = [case.closed(w, h) for w, h in zip(network.weights, histories, strict=True)]
    rivals = [trained.weights] if case.twin is None else [trained.weights, _train_twin(case, network, x, y)]
    errors = [relative_error(b, t) for rival in rivals for b, t in zip(rebuilt, rival, strict=True)]
    residual = invisible(histories[MIDDLE], stream)
    shifted = tuple(w + residual if layer == MIDDLE else w for layer, w in enumerate(network.weights))
    carried, _ = record(case, replace(network, weights=shifted), x, y, seed)
    drift = relative_error(carried.weights[MIDDLE] - trained.weights[MIDDLE], case.kept * residual)
    return largest(errors), drift


def record(case: Case, network: Network, x: Tensor, y: Tensor, seed: int) -> tuple[Network, list[History]]:
    """Train with the library and record the signatures of every layer and step."""
    pairs: list[list[tuple[Tensor, Tensor]]] = [[] for _ in network.weights]

    def observe(_index: int, _network: Network, signatures: Signatures) -> None:
        for layer, pair in enumerate(signatures.pairs()):
            pairs[layer].append(pair)

    trained = train(
        network, x, y, step=STEP, steps=STEPS, updates=case.updates, batches=batches(case, seed), observer=observe
    )
    alone = [History(p, network.masses[layer + 1], network.masses[layer]) for layer, p in enumerate(pairs)]
    return trained, [replace(history, others=alone) for history in alone]


def batches(case: Case, seed: int) -> Iterator[Tensor] | None:
    """Return the mini-batches of a run, the same for all who train on it."""
    if case.batches is None:
        return None
    stream = generator(seed, "closures", "batches")
    return iter([torch.randperm(DATA, generator=stream)[: case.batches] for _ in range(STEPS)])


def invisible(history: History, stream: torch.Generator) -> Tensor:
    """Return a residual matrix that averages to zero against every signature of the run."""
    residual = torch.randn(len(history.rows), len(history.columns), generator=stream, dtype=torch.float64)
    rows, columns = (
        torch.linalg.qr((torch.cat(parts) * masses).T).Q
        for parts, masses in zip(zip(*history.pairs, strict=True), (history.rows, history.columns), strict=True)
    )
    residual -= rows @ (rows.T @ residual)
    residual -= (residual @ columns) @ columns.T
    return residual


def _train_twin(case: Case, network: Network, x: Tensor, y: Tensor) -> list[Tensor]:
    """Train with torch's optimizer on autograd's gradient divided by the masses."""
    leaves = [w.clone().requires_grad_() for w in network.weights]
    assert case.twin is not None
    optimizer = case.twin(leaves)
    for _ in range(STEPS):
        gradients = torch.autograd.grad(risk(replace(network, weights=tuple(leaves)), x, y), leaves)
        for layer, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
            leaf.grad = gradient / network.masses[layer + 1][:, None] / network.masses[layer]
        optimizer.step()
    return [leaf.detach() for leaf in leaves]

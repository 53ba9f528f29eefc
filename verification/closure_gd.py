"""Claim `closure.gd`: the trained weights from W(0) and signatures alone, against training by autograd."""

import torch
from torch import Tensor

from rctheory.dynamics import SQUARED, Network, Signatures, train
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.random_networks import largest, random_data, random_network, relative_error

WIDTHS = (3, 96, 80, 2)
DATA, STEPS, STEP = 3, 8, 0.2
MIDDLE = 1  # index of the one matrix between two growing axes
Trace = list[tuple[Tensor, Tensor]]


def _autograd_twin(network: Network, x: Tensor, y: Tensor, noise: torch.Generator | None) -> list[Tensor]:
    """Train in the standard parametrisation, V^l = W^l / n_{l-1} on hidden axes, by autograd.

    Nothing here is shared with the library's dynamics: torch's own layers, loss gradient and per-layer rates
    n_l / n_{l-1} (1 on fixed axes), the mean-field rule in standard parametrisation.
    """
    sizes = [1, *WIDTHS[1:-1], 1]  # a fixed axis is summed: its size does not enter the scale
    weights = [w / sizes[layer] for layer, w in enumerate(network.weights)]
    for _ in range(STEPS):
        leaves = [w.clone().requires_grad_() for w in weights]
        h = x
        for layer, leaf in enumerate(leaves):
            h = torch.nn.functional.linear(h, leaf)
            h = torch.tanh(h) if layer + 1 < len(leaves) else h
        loss = 0.5 * (h - y).square().sum(dim=1).mean()
        gradients = torch.autograd.grad(loss, leaves)
        weights = [
            w - STEP * sizes[layer + 1] / sizes[layer] * g
            for layer, (w, g) in enumerate(zip(weights, gradients, strict=True))
        ]
        if noise is not None:
            kick = 1e-3 * torch.randn(weights[MIDDLE].shape, generator=noise, dtype=torch.float64)
            weights[MIDDLE] = weights[MIDDLE] + kick / sizes[MIDDLE]
    return [w * sizes[layer] for layer, w in enumerate(weights)]


def _trace(network: Network, x: Tensor, y: Tensor) -> tuple[Network, list[Trace]]:
    """Train with the library; return the trained network and the signature pairs of every layer and step."""
    traces: list[Trace] = [[] for _ in network.weights]

    def observe(_index: int, _network: Network, signatures: Signatures) -> None:
        for trace, pair in zip(traces, signatures.pairs(), strict=True):
            trace.append(pair)

    return train(network, x, y, step=STEP, steps=STEPS, loss=SQUARED, observer=observe), traces


def _reconstruct(start: Tensor, trace: Trace, *, stale: bool) -> Tensor:
    """Return W(0) - step * sum_t E_x[d(t, x) a(t, x)]; `stale` plants the previous step's deltas."""
    rebuilt = start.clone()
    for t, (_, a) in enumerate(trace):
        d = trace[max(t - 1, 0) if stale else t][0]
        rebuilt -= STEP * (d.T @ a) / DATA
    return rebuilt


def _hidden_residual(network: Network, trace: Trace, stream: torch.Generator) -> Tensor:
    """Return a residual matrix that no signature of the run can see: it averages to zero against all of them."""
    residual = torch.randn(network.weights[MIDDLE].shape, generator=stream, dtype=torch.float64)
    rows = torch.linalg.qr(torch.cat([d for d, _ in trace]).mul(network.masses[MIDDLE + 1]).T).Q
    columns = torch.linalg.qr(torch.cat([a for _, a in trace]).mul(network.masses[MIDDLE]).T).Q
    residual -= rows @ (rows.T @ residual)
    residual -= (residual @ columns) @ columns.T
    return residual


def _measure(context: Context, *, langevin: bool = False, stale: bool = False) -> Measurement:
    """Reconstruct the weights, freeze a residual, count the rank."""
    stream = context.generator("closure")
    network = random_network(WIDTHS, stream, uniform=True)
    x, y = random_data(WIDTHS[0], WIDTHS[-1], DATA, stream)
    trained, traces = _trace(network, x, y)
    twin = _autograd_twin(network, x, y, context.generator("noise") if langevin else None)
    rebuilt = [_reconstruct(w, trace, stale=stale) for w, trace in zip(network.weights, traces, strict=True)]
    errors = [relative_error(r, t) for r, t in zip(rebuilt, twin, strict=True)]

    residual = _hidden_residual(network, traces[MIDDLE], stream)
    shifted = [w + residual if layer == MIDDLE else w for layer, w in enumerate(network.weights)]
    carried = train(Network(tuple(shifted), network.masses, network.activation), x, y, step=STEP, steps=STEPS)
    drift = relative_error(carried.weights[MIDDLE] - trained.weights[MIDDLE], residual)
    rank = int(torch.linalg.matrix_rank(twin[MIDDLE] - network.weights[MIDDLE], rtol=1e-12))
    return Measurement(
        {
            "error": Estimate(largest(errors)),
            "residual_drift": Estimate(drift),
            "excess_rank": Estimate(max(0, rank - DATA * STEPS)),
        },
        remarks=(f"rank of W(T) - W(0) is {rank}; data x steps = {DATA * STEPS}; width {min(WIDTHS[1:-1])}",),
    )


EXPERIMENT = Experiment("two hidden layers, 8 steps, against autograd in the standard parametrisation", _measure)
LANGEVIN_NOISE = Experiment(
    "fresh noise in every step: the residual is not frozen", lambda context: _measure(context, langevin=True)
)
STALE_SIGNATURE = Experiment(
    "deltas of the previous step in the reconstruction", lambda context: _measure(context, stale=True)
)

"""Closed forms of the paths of weights against torch's optimisers on a small network, in float64.

The left side is torch: autograd, torch.optim, torch.nn.utils. The right side is the closed form that the proof
derived, evaluated at the signatures of that run.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import mpmath
import pytest
import torch
from hypothesis import assume, given, settings
from sympy import Expr, IndexedBase, Symbol
from torch import Tensor

from proofs.chain import Chain, Checked
from tests.helpers import SEEDS
from tests.proofs.evaluator import Evaluator, World
from tests.proofs.small_networks import DATA, MASSES, MIDDLE, WIDTHS, Problem, Trace, train

ETA, LAMBDA, BETA, BETA_2, EPS, TAU, CLIP, STEPS = 0.1, 0.3, 0.9, 0.95, 1e-3, 0.2, 0.05, 4
ROWS, COLUMNS = WIDTHS[2], WIDTHS[1]
SCALARS = {"eta": ETA, "rho": 1 - ETA * LAMBDA, "beta": BETA, "beta_1": BETA, "beta_2": BETA_2, "epsilon": EPS}
SCALARS |= {"alpha": BETA_2, "tau": TAU}
PLAIN = partial(torch.optim.SGD, lr=1.0)


def mean_field(kappa: float) -> dict[str, object]:
    """Return the mean-field rate of a layer: eta over the masses."""
    return {"lr": ETA / kappa}


def common(_kappa: float) -> dict[str, object]:
    """Return the rate of an optimiser that needs no masses."""
    return {"lr": ETA}


@cache
def argument(module: str) -> Chain:
    """Return the argument of a proof; made once."""
    return importlib.import_module(f"proofs.{module}").argue()


def padded(values: Tensor) -> Tensor:
    """Return an array indexed from 1, of six entries an axis, as the evaluator reads it."""
    padding = [part for size in reversed(values.shape) for part in (1, 5 - size)]
    return torch.nn.functional.pad(values, padding)


def in_time(values: list[Tensor]) -> Tensor:
    """Return padded arrays of every step, stacked along an axis that counts from 0."""
    stacked = torch.stack([padded(value) for value in values])
    return torch.nn.functional.pad(stacked, [0, 0] * (stacked.ndim - 1) + [0, 6 - len(values)])


def closed_form(
    module: str,
    array: str,
    problem: Problem,
    trace: Trace,
    *,
    arrays: dict[str, Tensor] | None = None,
    scalars: dict[str, float] | None = None,
) -> Tensor:
    """Evaluate the closed form of the middle weights that the proof defines and checks.

    Args:
        module: of the proof.
        array: name of the weights in it.
        problem: the start.
        trace: the signatures.
        arrays: values of further arrays of the proof; a definition of such an array is set aside.
        scalars: values that differ from the usual ones.
    """
    sizes = {"N": DATA, "n": ROWS, "n^-": COLUMNS, "E": 1, "m": 2}
    world = World(0, sizes, {"T": STEPS})
    numbers = SCALARS | (scalars or {})
    world.scalars |= {
        Symbol(name, positive=True): torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()
    }
    given_arrays = {
        "delta": in_time([step[MIDDLE][0] for step in trace.signatures]),
        "a": in_time([step[MIDDLE][1] for step in trace.signatures]),
        "q": padded(torch.full((DATA,), 1 / DATA, dtype=torch.float64)),
        "W^0": padded(problem.weights[MIDDLE][..., None]),
    } | (arrays or {})
    world.arrays |= {IndexedBase(name, real=True): values for name, values in given_arrays.items()}
    known = {
        head: tuple(meanings)
        for head, meanings in argument(module).definitions.items()
        if str(head) not in given_arrays
    }
    evaluator = Evaluator(Checked(0, None, known), world)
    weights = IndexedBase(array, real=True)
    row, column, value = (Symbol(name, integer=True) for name in "ije")
    (slots, _, _), *_ = known[weights]
    head: Expr = weights[(Symbol("T", integer=True, nonnegative=True), row, column, value)[: len(slots)]]
    free = {value: 1}
    places = [free | {row: i, column: j} for i in range(1, ROWS + 1) for j in range(1, COLUMNS + 1)]
    with torch.no_grad():
        return torch.stack([evaluator.value(head, place) for place in places]).reshape(ROWS, COLUMNS)


def gap(left: Tensor, right: Tensor) -> float:
    """Return the relative error."""
    return float((left - right).norm() / right.norm())


@dataclass
class Signum:
    """Replaces gradients by the signs of their momentum."""

    buffers: list[Tensor] | None = None

    def __call__(self, leaves: list[Tensor], step: int) -> None:
        """Update the momentum of every gradient, and take its sign."""
        gradients = [leaf.grad.clone() for leaf in leaves]
        old = gradients if step == 0 else [BETA * b + g for b, g in zip(self.buffers, gradients, strict=True)]
        self.buffers = old
        for leaf, buffer in zip(leaves, old, strict=True):
            leaf.grad.copy_(buffer.sign())


def clipped(leaves: list[Tensor], _step: int) -> None:
    """Clip the gradients by their global norm."""
    torch.nn.utils.clip_grad_norm_(leaves, CLIP)


def orthogonalised(leaves: list[Tensor], _step: int) -> None:
    """Replace gradients by U V^T over the nonzero singular values."""
    for leaf in leaves:
        u, s, v = torch.linalg.svd(leaf.grad, full_matrices=False)
        leaf.grad.copy_((u * (s > 1e-9 * s[0])) @ v)


def adam(kind: type[torch.optim.Optimizer], **options: float) -> Callable[[Problem], Trace]:
    """Return a run of Adam or AdamW, with epsilon over the masses."""
    engine = partial(kind, betas=(BETA, BETA_2), **options)
    return lambda p: train(p, engine, lambda kappa: common(kappa) | {"eps": EPS * kappa}, STEPS)


RUNS: dict[str, tuple[str, str, Callable[[Problem], Trace]]] = {
    "momentum": (
        "closure_momentum",
        "W",
        lambda p: train(p, partial(PLAIN, momentum=BETA), mean_field, STEPS),
    ),
    "nesterov": (
        "closure_momentum",
        "W^N",
        lambda p: train(p, partial(PLAIN, momentum=BETA, nesterov=True), mean_field, STEPS),
    ),
    "weight decay": (
        "closure_weight_decay",
        "W",
        lambda p: train(p, PLAIN, lambda kappa: mean_field(kappa) | {"weight_decay": LAMBDA * kappa}, STEPS),
    ),
    "adamw": ("closure_adam", "W", adam(torch.optim.AdamW, weight_decay=LAMBDA)),
    "rmsprop": (
        "closure_rmsprop",
        "W",
        lambda p: train(
            p,
            partial(torch.optim.RMSprop, alpha=BETA_2),
            lambda kappa: common(kappa) | {"eps": EPS * kappa},
            STEPS,
        ),
    ),
    "signum": ("closure_sign", "W", lambda p: train(p, PLAIN, common, STEPS, adjust=Signum())),
}


@pytest.mark.parametrize("name", RUNS)
@given(seed=SEEDS)
@settings(max_examples=3)
def test_closed_form_is_the_path_of_the_optimiser(name: str, seed: int) -> None:
    module, array, run = RUNS[name]
    problem = Problem.drawn(seed)
    trace = run(problem)
    assert gap(closed_form(module, array, problem, trace), trace.weights[MIDDLE]) <= 1e-10
    moved = gap(problem.weights[MIDDLE], trace.weights[MIDDLE])
    assert moved > 1e-3, "nothing was tested: the weights did not move"


@given(seed=SEEDS)
@settings(max_examples=3)
def test_adam_is_adamw_without_decay(seed: int) -> None:
    problem = Problem.drawn(seed)
    trace = adam(torch.optim.Adam)(problem)
    plain = closed_form("closure_adam", "W", problem, trace, scalars={"rho": 1.0})
    assert gap(plain, trace.weights[MIDDLE]) <= 1e-10
    assert gap(closed_form("closure_adam", "W", problem, trace), trace.weights[MIDDLE]) > 1e-3


@given(seed=SEEDS)
@settings(max_examples=3)
def test_adam_with_a_penalty_in_the_gradient_is_not_closed(seed: int) -> None:
    """The counterexample of the claim: neither rho = 1 nor decoupled decay gives the path."""
    problem = Problem.drawn(seed)
    engine = partial(torch.optim.Adam, betas=(BETA, BETA_2))
    trace = train(problem, engine, lambda k: common(k) | {"eps": EPS * k, "weight_decay": LAMBDA * k}, STEPS)
    for rho in (1.0, SCALARS["rho"]):
        path = closed_form("closure_adam", "W", problem, trace, scalars={"rho": rho})
        assert gap(path, trace.weights[MIDDLE]) > 1e-3


@given(seed=SEEDS)
@settings(max_examples=3)
def test_clipping_by_the_global_norm(seed: int) -> None:
    """The scales come from Gram matrices of signatures, of all layers, and nothing else."""
    problem = Problem.drawn(seed)
    trace = train(problem, PLAIN, common, STEPS, metric=True, adjust=clipped)
    scales = []
    for layers in trace.signatures:
        grams = [kappa * ((d.T @ d) * (a.T @ a)).sum() / DATA**2 for kappa, (d, a) in zip(MASSES, layers, strict=True)]
        scales.append(torch.clamp(CLIP / (sum(grams).sqrt() + 1e-6), max=1.0))
    assert min(scales) < 0.9, "nothing was clipped"
    scale = torch.nn.functional.pad(torch.stack(scales), (0, 2))
    path = closed_form("closure_clipping", "W", problem, trace, arrays={"c": scale})
    assert gap(path, trace.weights[MIDDLE]) <= 1e-10


def core(delta: Tensor, signal: Tensor) -> Tensor:
    """Return M of the claim from Gram matrices over the data, in the metric of the masses: no neuron enters.

    The coefficients of the odd polynomial that is 1 at the singular values solve a Vandermonde system: 50 digits.
    """
    with mpmath.workdps(50):
        d, a = mpmath.matrix(delta.tolist()) / DATA, mpmath.matrix(signal.tolist())
        product = (a.T * a / COLUMNS) * (d.T * d / ROWS)
        squares = [mpmath.re(value) for value in mpmath.eig(product, left=False, right=False)]
        odd = mpmath.matrix([[mpmath.sqrt(value) ** (2 * k + 1) for k in range(DATA)] for value in squares])
        coefficients = mpmath.lu_solve(odd, mpmath.ones(DATA, 1))
        powers = (coefficients[k] * product**k for k in range(DATA))
        return torch.tensor(sum(powers, mpmath.zeros(DATA)).tolist(), dtype=torch.float64)


@given(seed=SEEDS)
@settings(max_examples=3)
def test_muon_stays_in_the_span_of_signatures(seed: int) -> None:
    """U V^T by singular value decomposition against d^T M a with M from Gram matrices alone."""
    problem = Problem.drawn(seed)
    trace = train(problem, PLAIN, common, STEPS, metric=True, adjust=orthogonalised)
    for layers in trace.signatures:
        values = torch.linalg.svdvals(layers[MIDDLE][0] @ layers[MIDDLE][1].T)
        assume(values[2] > 1e-3 * values[0])  # below, U V^T itself is lost in the rounding of float64
    cores = [core(*layers[MIDDLE]) for layers in trace.signatures]
    path = closed_form("closure_muon", "W", problem, trace, arrays={"M^t": in_time(cores)})
    assert gap(path, trace.weights[MIDDLE]) <= 1e-10


@given(seed=SEEDS)
@settings(max_examples=3)
def test_newton_schulz_stays_in_the_span_of_signatures(seed: int) -> None:
    """The five quintic iterations of Muon, in float64, on the matrix and on the Gram matrices over the data alone."""
    problem = Problem.drawn(seed)
    delta, signal = problem.signatures(problem.weights)[MIDDLE]
    left, right = delta / (DATA * ROWS**0.5), signal / COLUMNS**0.5
    rows, columns = left.T @ left, right.T @ right
    matrix = left @ right.T
    matrix = matrix / matrix.norm()
    middle = torch.eye(DATA, dtype=torch.float64) / (rows * columns).sum().sqrt()
    for _ in range(5):
        gram, inner = matrix @ matrix.T, middle @ columns @ middle.T @ rows
        matrix = 3.4445 * matrix + (-4.775 * gram + 2.0315 * gram @ gram) @ matrix
        middle = 3.4445 * middle + (-4.775 * inner + 2.0315 * inner @ inner) @ middle
    assert gap(left @ middle @ right.T, matrix) <= 1e-10


@given(seed=SEEDS)
@settings(max_examples=3)
def test_langevin_noise_adds_up_in_the_residual(seed: int) -> None:
    problem = Problem.drawn(seed)
    stream = torch.Generator().manual_seed(seed)
    noise = torch.randn(STEPS, ROWS, COLUMNS, generator=stream, dtype=torch.float64)

    def kick(leaves: list[Tensor], step: int) -> None:
        leaves[MIDDLE].add_((2 * TAU * ETA) ** 0.5 * noise[step])

    trace = train(problem, PLAIN, mean_field, STEPS, after=kick)
    residual = torch.randn(ROWS, COLUMNS, generator=stream, dtype=torch.float64)
    arrays = {"zeta": in_time(list(noise)), "xi": padded(residual), "m^0": padded(problem.weights[MIDDLE] - residual)}
    path = closed_form("closure_langevin", "W", problem, trace, arrays=arrays)
    assert gap(path, trace.weights[MIDDLE]) <= 1e-10


@given(seed=SEEDS)
@settings(max_examples=3)
def test_mini_batches(seed: int) -> None:
    problem = Problem.drawn(seed)
    stream = torch.Generator().manual_seed(seed)
    batches = torch.stack([torch.randperm(DATA, generator=stream)[:2] for _ in range(STEPS)])
    trace = train(problem, PLAIN, mean_field, STEPS, batches=batches)
    members = in_time([batch + 1.0 for batch in batches])
    path = closed_form("closure_sgd", "W", problem, trace, arrays={"B": members})
    assert gap(path, trace.weights[MIDDLE]) <= 1e-10


EVERY: dict[str, Callable[[Problem], Trace]] = {name: run for name, (_, _, run) in RUNS.items()} | {
    "descent": lambda p: train(p, PLAIN, mean_field, STEPS),
    "adam": adam(torch.optim.Adam),
    "clipping": lambda p: train(p, PLAIN, common, STEPS, metric=True, adjust=clipped),
    "muon": lambda p: train(p, PLAIN, common, STEPS, metric=True, adjust=orthogonalised),
}


@pytest.mark.parametrize("name", EVERY)
@given(seed=SEEDS)
@settings(max_examples=3)
def test_relabelling_neurons_commutes_with_the_optimiser(name: str, seed: int) -> None:
    problem, stream = Problem.drawn(seed), torch.Generator().manual_seed(seed)
    orders = [torch.randperm(size, generator=stream) for size in WIDTHS[1:-1]]
    first = EVERY[name](problem)
    trained_first = Problem(first.weights, problem.inputs, problem.targets).relabelled(*orders).weights
    relabelled_first = EVERY[name](problem.relabelled(*orders)).weights
    for left, right in zip(trained_first, relabelled_first, strict=True):
        assert gap(left, right) <= 1e-9


def test_a_rate_of_its_own_for_a_row_does_not_commute() -> None:
    """The control: the first row of every matrix learns twice as fast."""

    def faster(leaves: list[Tensor], _step: int) -> None:
        for leaf in leaves:
            leaf.grad[0] *= 2

    problem = Problem.drawn(0)
    orders = torch.tensor([1, 0, 2, 3]), torch.tensor([1, 0, 2])
    run = partial(train, optimiser=PLAIN, groups=mean_field, steps=STEPS, adjust=faster)
    trained = Problem(run(problem).weights, problem.inputs, problem.targets).relabelled(*orders).weights
    assert gap(trained[MIDDLE], run(problem.relabelled(*orders)).weights[MIDDLE]) > 1e-3

"""The factored engine is the dense one: over widths, depths, dtypes, rules; and it never forms the matrix."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import ACTIVATIONS, LOSSES, Ansatz, factored, train
from rctheory.dynamics.ansatz import sobol_nodes
from rctheory.errors import LawError, NumericsError, UsageError
from rctheory.measures import GaussianLaw, RCKernel, SeparableKernel, UniformLaw, coordinates, trigonometric
from tests.helpers import SEEDS, stream
from verification.problems import regression
from verification.random_networks import random_data

DEPTHS = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def _ansatz(hidden: int, activation: str, generator: torch.Generator) -> Ansatz:
    """Return random separable kernels between 2 inputs, `hidden` layers and 3 outputs."""
    waves = trigonometric(order=1)

    def core(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator, dtype=torch.float64)

    kernels = (
        SeparableKernel(waves, core(3, 2), coordinates(2)),
        *(SeparableKernel(waves, core(3, 3), waves) for _ in range(hidden - 1)),
        SeparableKernel(coordinates(3), core(3, 3), waves),
    )
    laws = tuple(GaussianLaw() if layer % 2 else UniformLaw() for layer in range(hidden))
    return Ansatz(2, 3, laws, tuple(RCKernel(mean) for mean in kernels), ACTIVATIONS[activation])


@given(DEPTHS, st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from(sorted(LOSSES)), st.integers(0, 4), SEEDS)
def test_factored_training_is_dense_training(
    widths: list[int], activation: str, loss_name: str, steps: int, seed: int
) -> None:
    generator, loss = stream(seed), LOSSES[loss_name]
    ansatz = _ansatz(len(widths), activation, generator)
    x, y = random_data(2, 3, 3, generator)
    y = y.softmax(dim=-1) if loss_name == "cross-entropy" else y
    start = factored.sample(ansatz, widths, [0, 4], root=seed)
    before = factored.as_dense(start)
    got = factored.train(start, x, y, step=0.05, steps=steps, loss=loss)
    dense = ansatz.sample(widths, [0, 4], root=seed)
    want = train(dense, x, y, step=0.05, steps=steps, loss=loss)
    torch.testing.assert_close(got.outputs(x), want.outputs(x), rtol=1e-10, atol=1e-10)
    for a, b in zip(factored.as_dense(got).weights, want.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    for a, b, c in zip(before.weights, factored.as_dense(start).weights, dense.weights, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-12, atol=1e-12)


def test_rank_grows_by_the_data_and_float32_follows() -> None:
    problem = regression(residual=0.0)
    outputs = []
    for dtype in (torch.float32, torch.float64):
        start = factored.sample(problem.ansatz, (500, 400), range(3), dtype=dtype)
        trained = factored.train(start, problem.x.to(dtype), problem.y.to(dtype), step=0.1, steps=6)
        middle = trained.weights[1]
        assert middle.shape == (3, 400, 500)
        assert middle.rows.dtype == dtype
        assert middle.rows.shape[-2] == middle.columns.shape[-2] == 5 + 8 * 6
        outputs.append(problem.outputs(trained))
    torch.testing.assert_close(*outputs, rtol=0, atol=2e-5)


def test_width_two_hundred_thousand_fits_where_its_matrix_does_not() -> None:
    problem = regression(residual=0.0)
    n = 200_000  # 160 GB in float32 as a matrix
    start = factored.sample(problem.ansatz, (n, n), [0], dtype=torch.float32)
    trained = factored.train(start, problem.x.float(), problem.y.float(), step=0.1, steps=2)
    coarse = train(problem.ansatz.limit(64), problem.x, problem.y, step=0.1, steps=2)
    assert float((problem.outputs(trained) - problem.outputs(coarse)).abs().max()) < 0.05


@pytest.mark.parametrize("rule", ["gauss", "sobol"])
def test_the_limit_in_factors_is_the_limit(rule: str) -> None:
    problem = regression(residual=0.0)
    options = {"rule": sobol_nodes, "root": 3} if rule == "sobol" else {}
    want = problem.train(problem.ansatz.limit(32, **options))
    got = factored.train(
        factored.limit(problem.ansatz, 32, **options), problem.x, problem.y, step=problem.step, steps=20
    )
    torch.testing.assert_close(problem.outputs(got), problem.outputs(want), rtol=1e-10, atol=1e-11)


def test_what_does_not_factor_is_refused() -> None:
    ansatz = regression(residual=0.5).ansatz
    with pytest.raises(LawError, match=r"W\^2 with residual 0.5 and mean kernel SeparableKernel; expected a separable"):
        factored.sample(ansatz, (4, 4), [0])
    plain = RCKernel(lambda rows, columns: rows @ columns.transpose(-1, -2))
    with pytest.raises(LawError, match="mean kernel function"):
        factored.sample(replace(ansatz, kernels=(ansatz.kernels[0], plain, ansatz.kernels[2])), (4, 4), [0])
    with pytest.raises(LawError, match="widths of at least 1"):
        factored.sample(ansatz, (4, 0), [0])


def test_senseless_and_diverging_steps_are_named() -> None:
    problem = regression(residual=0.0)
    network = factored.sample(problem.ansatz, (30, 30), [0])
    with pytest.raises(UsageError, match="step nan"):
        factored.train(network, problem.x, problem.y, step=float("nan"), steps=1)
    with pytest.raises(NumericsError, match=r"W\^[123] after 200 steps of size 1000000.0 are not finite"):
        factored.train(network, problem.x, problem.y, step=1e6, steps=200)


def test_factors_serve_products_on_the_right_only() -> None:
    factors = factored.Factors(torch.ones(2, 3), torch.ones(2, 4))
    block = torch.arange(3.0)[None]
    torch.testing.assert_close(block @ factors, block @ factors.dense())
    torch.testing.assert_close(torch.ones(1, 4) @ factors.transpose(-1, -2), torch.ones(1, 4) @ factors.dense().T)
    for wrong in (lambda: torch.add(block, factors), lambda: factors @ block, lambda: torch.exp(factors)):
        with pytest.raises(TypeError):
            wrong()


@pytest.mark.gpu
def test_cuda_trains_like_the_cpu() -> None:
    problem = regression(residual=0.0)
    results = []
    for device in ("cpu", "cuda"):
        start = factored.sample(problem.ansatz, (300, 200), range(2), device=device)
        x, y = problem.x.to(device), problem.y.to(device)
        results.append(factored.train(start, x, y, step=0.1, steps=10).outputs(x).cpu())
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)

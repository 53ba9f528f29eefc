"""The ansatz: sub-arrays, seeds, the limit."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rctheory.dynamics import Ansatz
from rctheory.errors import LawError, ShapeError
from rctheory.measures import DESIGNS
from tests.helpers import CUTOFF, SEEDS
from verification.problems import regression
from verification.transfers import resample

Weights = tuple[torch.Tensor, ...]


def _drawn(m: int, n: int, arrays: int, *, tied: bool = True) -> Weights:
    """Draw m of n units per axis from `arrays` networks of width n."""
    ansatz = regression().ansatz
    parts = []
    for seed in range(arrays):
        large = ansatz.sample((n, n), [seed], root=1)
        single = replace(large, weights=tuple(w[0] for w in large.weights))
        parts.append(resample(single, m, DESIGNS["without-replacement"], seed, tied=tied).weights)
    return tuple(torch.stack(ws) for ws in zip(*parts, strict=True))


def _p_values(one: Weights, other: Weights) -> list[float]:
    """Return exact two-sample Kolmogorov-Smirnov p-values of statistics that see rows, columns and their coupling."""
    pairs = zip(_statistics(one), _statistics(other), strict=True)
    return [float(stats.ks_2samp(a.numpy(), b.numpy(), method="exact").pvalue) for a, b in pairs]


def _statistics(weights: Weights) -> list[torch.Tensor]:
    """Return, per seed: the coupling of adjacent matrices, the four-cycles, one entry."""
    first, middle, last = weights
    through = (last @ middle @ first).square().sum(dim=(-1, -2))
    sizes = [w.square().sum(dim=(-1, -2)) for w in weights]
    cycles = (middle @ middle.mT).square().sum(dim=(-1, -2))
    return [through / (sizes[0] * sizes[1] * sizes[2]), cycles, middle[:, 0, 0]]


@settings(max_examples=8)
@given(st.integers(2, 6), st.integers(7, 12))
def test_sub_arrays_have_the_law_of_smaller_arrays(m: int, n: int) -> None:
    small = regression().ansatz.sample((m, m), range(300))
    assert min(_p_values(small.weights, _drawn(m, n, 300))) > CUTOFF


def test_untied_sub_arrays_have_another_law() -> None:
    """The control: the same test sees rows drawn apart from the columns that read them."""
    small = regression().ansatz.sample((8, 8), range(1000))
    assert min(_p_values(small.weights, _drawn(8, 16, 1000, tied=False))) < CUTOFF


@given(SEEDS, st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True))
def test_a_network_does_not_depend_on_its_batch(root: int, seeds: list[int]) -> None:
    ansatz = regression().ansatz
    batch = ansatz.sample((5, 4), seeds, root=root)
    alone = ansatz.sample((5, 4), seeds[-1:], root=root)
    for a, b in zip(batch.weights, alone.weights, strict=True):
        torch.testing.assert_close(a[-1:], b, rtol=1e-13, atol=1e-13)
    parts = [n.weights[1] for n in ansatz.ensembles((5, 4), 7, root=root, budget=500)]
    assert len(parts) > 1
    whole = ansatz.sample((5, 4), range(7), root=root).weights[1]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-13, atol=1e-13)


def test_residual_is_centred_independent_of_the_limit_and_of_the_right_size() -> None:
    with_noise, without = (regression(residual=s).ansatz.sample((60, 50), range(4)) for s in (0.7, 0.0))
    residual = with_noise.weights[1] - without.weights[1]
    n = residual.numel()
    assert abs(float(residual.mean())) <= 6 * 0.7 / n**0.5
    assert float(residual.std()) == pytest.approx(0.7, rel=6 / (2 * n) ** 0.5)
    limits = [regression(residual=s).ansatz.limit(8).weights for s in (0.7, 0.0)]
    assert all(torch.equal(a, b) for a, b in zip(*limits, strict=True))


def test_wrong_widths_and_kernels_are_refused() -> None:
    ansatz = regression().ansatz
    for widths, seeds in (((0, 4), [0]), ((4,), [0]), ((4, 4), [])):
        with pytest.raises(LawError, match="widths of at least 1"):
            ansatz.sample(widths, seeds)
    with pytest.raises(ShapeError, match="one kernel more than laws"):
        Ansatz(3, 1, ansatz.laws[:1], ansatz.kernels, ansatz.activation)

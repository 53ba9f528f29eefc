"""Backward elimination and refitting from Gram matrices, against dense least squares."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rctheory.calibration.elimination import eliminate, refit, ridge
from rctheory.calibration.selection import SELECTIONS, contributions, selection
from rctheory.errors import ShapeError, UsageError
from tests.helpers import SEEDS, stream


def problem(seed: int, n: int, outputs: int = 3, tokens: int = 60) -> tuple[Tensor, Tensor]:
    """Return correlated units (tokens, n) and outputs that they make in part."""
    random = stream(seed)
    units = torch.randn(tokens, n, generator=random, dtype=torch.float64)
    units = units @ (torch.eye(n) + 0.5 * torch.randn(n, n, generator=random)).double()
    made = units @ torch.randn(n, outputs, generator=random, dtype=torch.float64)
    return units, made + 0.3 * torch.randn(tokens, outputs, generator=random, dtype=torch.float64)


def missed(units: Tensor, outputs: Tensor) -> float:
    """Return the residual sum of squares of dense least squares."""
    weights = torch.linalg.lstsq(units, outputs, driver="gelsd").solution
    return float((outputs - units @ weights).square().sum())


@given(SEEDS, st.integers(2, 8), st.integers(1, 7))
def test_one_by_one_it_takes_away_what_is_missed_least(seed: int, n: int, m: int) -> None:
    """Every step of the elimination agrees with trying all units by dense least squares."""
    m = min(m, n)
    units, outputs = problem(seed, n)
    left = list(range(n))
    while len(left) > m:
        costs = {j: missed(units[:, [k for k in left if k != j]], outputs) for j in left}
        left.remove(min(costs, key=lambda j: costs[j]))
    assert eliminate(units.T @ units, units.T @ outputs, m, block=1).tolist() == left


@given(SEEDS, st.integers(1, 4), st.integers(2, 5))
def test_groups_go_together(seed: int, group: int, count: int) -> None:
    units, outputs = problem(seed, group * count)
    parts = [list(range(u * group, (u + 1) * group)) for u in range(count)]
    costs = [missed(units[:, [k for v in range(count) if v != u for k in parts[v]]], outputs) for u in range(count)]
    kept = eliminate(units.T @ units, units.T @ outputs, count - 1, group=group)
    assert sorted({*range(count)} - {*kept.tolist()}) == [min(range(count), key=lambda u: costs[u])]


def test_refitting_is_dense_least_squares_with_a_prior() -> None:
    units, outputs = problem(3, 6)
    prior = torch.randn(6, 3, generator=stream(4), dtype=torch.float64)
    gram, cross = ridge(units.T @ units, units.T @ outputs, prior, 0.1)
    scale = (0.1 * units.square().sum(dim=0)).sqrt()
    rows, wanted = torch.cat([units, scale.diag()]), torch.cat([outputs, scale[:, None] * prior])
    expected = torch.linalg.lstsq(rows, wanted, driver="gelsd").solution
    torch.testing.assert_close(refit(gram, cross, torch.arange(6)), expected)
    kept = torch.tensor([1, 4])
    torch.testing.assert_close(
        refit(gram, cross, kept), torch.linalg.lstsq(rows[:, kept], wanted, driver="gelsd").solution
    )


def test_a_unit_that_others_replace_costs_nothing() -> None:
    """The largest unit is a sum of the others: elimination finds six that miss nothing."""
    units, outputs = problem(1, 6)
    units = torch.cat([units, units @ torch.full((6, 1), 3.0).double()], dim=1)
    prior = torch.linalg.lstsq(units, outputs, driver="gelsd").solution
    gram, cross = ridge(units.T @ units, units.T @ outputs, prior, 1e-6)
    whole = missed(units, outputs)
    assert missed(units[:, SELECTIONS["elimination"](gram, cross, prior, 6, 1)], outputs) == pytest.approx(
        whole, rel=1e-6
    )


@pytest.mark.parametrize("name", sorted(SELECTIONS))
@pytest.mark.parametrize("group", [1, 2])
def test_every_selection_keeps_m_units_in_order_and_follows_a_relabelling(name: str, group: int) -> None:
    units, outputs = problem(5, 8 * group)
    prior = torch.randn(8 * group, 3, generator=stream(6), dtype=torch.float64)
    gram, cross = ridge(units.T @ units, units.T @ outputs, prior, 1e-3)
    kept = selection(name)(gram, cross, prior, 5, group)
    assert len(set(kept.tolist())) == 5
    assert kept.tolist() == sorted(kept.tolist())
    if name == "quantisation":  # Lloyd's algorithm starts from an order of the units
        return
    order = torch.randperm(8, generator=stream(7))
    flat = (order[:, None] * group + torch.arange(group)).flatten()
    again = selection(name)(gram[flat][:, flat], cross[flat], prior[flat], 5, group)
    assert sorted(order[again].tolist()) == kept.tolist()


def test_the_kernel_is_what_units_write() -> None:
    units, _ = problem(8, 6)
    prior = torch.randn(6, 3, generator=stream(9), dtype=torch.float64)
    written = torch.einsum("tj,jd->jtd", units, prior).reshape(3, 2, -1).sum(dim=1)
    torch.testing.assert_close(contributions(units.T @ units, prior, 2), written @ written.T)


def test_bad_input_is_refused() -> None:
    gram, cross = torch.eye(6).double(), torch.ones(6, 2).double()
    with pytest.raises(UsageError, match="7 units of 6; expected 1 to 6"):
        eliminate(gram, cross, 7)
    with pytest.raises(ShapeError, match="in groups of 4"):
        eliminate(gram, cross, 1, group=4)
    with pytest.raises(UsageError, match="a ridge of 0"):
        ridge(gram, cross, cross, 0.0)
    with pytest.raises(UsageError, match="units that are active"):
        ridge(torch.zeros_like(gram), cross, cross, 1e-2)
    with pytest.raises(UsageError, match="selection 'best'; expected one of elimination"):
        selection("best")

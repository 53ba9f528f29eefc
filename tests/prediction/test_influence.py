"""Influence and its second order, against automatic differentiation and against losses of sampled models."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rctheory.contracts.huggingface import KeepFloat64
from rctheory.errors import UsageError
from rctheory.measures import DESIGNS
from rctheory.prediction.influence import Influence, measure_influence
from rctheory.prediction.prediction import cheapest, predict, predict_axis
from tests.prediction.test_masses import WINDOWS, massed

FFN, STREAM = "layers.1.ffn", "residual"
WITHOUT = DESIGNS["without-replacement"]


def test_gradients_are_differences_of_the_loss(tmp_path: Path) -> None:
    """Central differences in float64 of every unit, by an engine that no gradient passes through."""
    model, h = massed("llama", tmp_path, [FFN, STREAM]), 1e-5
    with KeepFloat64():
        found = measure_influence(model, WINDOWS, draws=0)
        for axis, n in model.sizes.items():
            for window, gradient in zip(WINDOWS, found.gradients[axis], strict=True):
                for unit in range(n):
                    step = h * torch.nn.functional.one_hot(torch.tensor(unit), n).double()
                    with torch.no_grad():
                        up, down = (float(model.loss(window[None], {axis: 1 + s})) for s in (step, -step))
                    assert (up - down) / (2 * h) == pytest.approx(float(gradient[unit]), rel=1e-6, abs=1e-9)
        assert found.loss == pytest.approx(float(model.loss(WINDOWS, {})), rel=1e-12)


def test_scores_have_the_fisher_information_as_their_second_moment(tmp_path: Path) -> None:
    """E[s s'] T = J' (diag(p) - p p') J / T, with the Jacobian J of the logits by automatic differentiation."""
    model, window = massed("llama", tmp_path, [FFN]), WINDOWS[:1]
    tokens = window.shape[1] - 1
    with KeepFloat64():
        draws = 4000
        found = measure_influence(model, window, draws=draws).scores[FFN][0]

        def logits(masses: Tensor) -> Tensor:
            return model.logits(window, {FFN: masses})[0, :-1]

        at = torch.ones(model.sizes[FFN], dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(logits, at)
        p = logits(at).detach().softmax(dim=-1)
    metric = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("tvi,tvw,twj->ij", jacobian, metric, jacobian) / tokens
    sampled = tokens * found.T @ found / draws
    assert found.mean(dim=0).abs().max() <= 6 * (expected.diagonal() / tokens / draws).sqrt().max()
    torch.testing.assert_close(sampled, expected, rtol=0, atol=6 * float(expected.abs().max()) / draws**0.5)


def synthetic(windows: int = 6, draws: int = 3, n: int = 12) -> Influence:
    """Return influences of no model in particular."""
    random = torch.Generator().manual_seed(0)
    common = torch.randn(n, generator=random, dtype=torch.float64)
    gradients = common + 0.5 * torch.randn(windows, n, generator=random, dtype=torch.float64)
    scores = 0.2 * torch.randn(windows, draws, n, generator=random, dtype=torch.float64)
    losses = 3 + 0.1 * torch.randn(windows, generator=random, dtype=torch.float64)
    return Influence(losses, 7, {"a": gradients, "b": gradients * 2}, {"a": scores, "b": scores})


@pytest.mark.parametrize("name", sorted(DESIGNS))
def test_moments_are_those_of_the_quadratic_form_over_draws(name: str) -> None:
    """Mean and variance of g'd + d'Hd / 2 over many draws of the masses, H = T mean s s'."""
    influence, m, design, draws = synthetic(), 7, DESIGNS[name], 40_000
    found = predict_axis(influence, "a", m, design)
    g, scores = influence.gradients["a"].mean(dim=0), influence.scores["a"].flatten(0, 1)
    n, stream = len(g), torch.Generator().manual_seed(1)
    counts = torch.stack([torch.bincount(design.draw(n, m, stream), minlength=n) for _ in range(draws)])
    d = counts.double() * n / m - 1
    linear, square = d @ g, influence.tokens * (d @ scores.T).square().mean(dim=1) / 2
    assert found.first == pytest.approx(float(linear.std()), rel=0.03)
    assert found.shift == pytest.approx(float(square.mean()), rel=0.03)


def test_skewed_masses_tilt_the_first_order() -> None:
    """Of a diagonal H every loss change without replacement is linear in the masses: the tilted sd is exact."""
    random, n, m, tokens = torch.Generator().manual_seed(3), 7, 5, 4
    g, h = (torch.rand(n, generator=random, dtype=torch.float64) for _ in range(2))
    scores = torch.diag((n * h / tokens).sqrt())[None]
    found = predict_axis(Influence(torch.ones(1), tokens, {"a": -g[None]}, {"a": scores}), "a", m, WITHOUT)
    kept = torch.tensor(list(combinations(range(n), m)))
    d = torch.zeros(len(kept), n, dtype=torch.float64).scatter_(1, kept, n / m) - 1
    changes = -d @ g + d.square() @ h / 2
    assert found.tilted == pytest.approx(float(changes.std(correction=0)), rel=1e-12)
    assert found.tilted > 1.1 * found.first  # what is worth much is curved as well
    assert found.shift == pytest.approx(float(changes.mean()), rel=1e-12)
    assert found.sd == pytest.approx((found.tilted**2 + found.second**2) ** 0.5)


def test_the_second_order_is_estimated_from_different_scores() -> None:
    """With many normal scores of covariance C / T: sd = v |C'| / sqrt(2) in Frobenius norm, C' doubly centred."""
    random, n, tokens, m = torch.Generator().manual_seed(2), 20, 5, 10
    root = torch.randn(n, n, generator=random, dtype=torch.float64)
    scores = torch.randn(1, 2000, n, generator=random, dtype=torch.float64) @ root.T / tokens**0.5
    gradients = torch.randn(1, n, generator=random, dtype=torch.float64)
    found = predict_axis(Influence(torch.ones(1), tokens, {"a": gradients}, {"a": scores}), "a", m, WITHOUT)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    centred = centre @ root @ root.T @ centre
    expected = (n / m - 1) * n / (n - 1) * float(centred.square().sum() / 2) ** 0.5
    assert found.second == pytest.approx(expected, rel=0.1)


def test_axes_add_and_text_noise_is_taken_out() -> None:
    influence = synthetic(windows=400)
    both = predict(influence, {"a": 6, "b": 6}, WITHOUT)
    a, b = both.axes
    assert both.sd == pytest.approx((a.sd**2 + b.sd**2) ** 0.5)
    assert both.shift == pytest.approx(a.shift + b.shift)
    short = predict_axis(synthetic(windows=6), "a", 6, WITHOUT)
    assert short.elsewhere < short.first
    assert short.elsewhere == pytest.approx(a.first, rel=3 * short.text_error)


def test_one_dominant_unit_is_flagged_before_anything_is_sampled() -> None:
    gradients = torch.full((2, 100), 1e-3, dtype=torch.float64)
    gradients[:, ::2] *= -1
    calm = predict_axis(Influence(torch.ones(2), 5, {"a": gradients}, {"a": torch.zeros(2, 0, 100)}), "a", 98, WITHOUT)
    gradients[:, 7] = 1.0
    wild = predict_axis(Influence(torch.ones(2), 5, {"a": gradients}, {"a": torch.zeros(2, 0, 100)}), "a", 98, WITHOUT)
    assert calm.warnings == ()
    assert any("one unit carries 99%" in warning for warning in wild.warnings)
    assert any("heavy tails" in warning for warning in wild.warnings)


def test_the_cheapest_width_keeps_to_the_budget() -> None:
    influence = synthetic()
    candidates = [{"a": m} for m in range(1, 13)]
    costs = [p.shift + 2 * p.sd for p in (predict(influence, c, WITHOUT) for c in candidates)]
    budget = (costs[5] + costs[6]) / 2
    assert cheapest(influence, candidates, WITHOUT, budget) == 6
    assert cheapest(influence, candidates[:6], WITHOUT, budget) is None


def test_an_axis_that_was_not_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="axis c without influence; expected one of a, b"):
        predict(synthetic(), {"c": 3}, WITHOUT)

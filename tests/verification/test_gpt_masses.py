"""Masses on the suite's GPT-2: they are transfers, their influences are derivatives, and growth follows its source."""

import pytest
import torch
from torch import Tensor

from rctheory.architectures.registry import layout_of
from rctheory.transfer.transfer_plan import draw_transfer
from tests.verification.test_gpt import SIZE, random_gpt
from verification.gpt import Gpt, configuration
from verification.gpt_loss_change import _worst_shift
from verification.gpt_masses import MassedGpt, cut, ffn, influence_of, sampled_losses, window_loss
from verification.gpt_zero_shot import DRAWN, SEEING, _descended, _masses, transferred

UNITS = 4 * SIZE.width
SYMBOLS = torch.randint(SIZE.symbols, (3, 12), generator=torch.Generator().manual_seed(5))


def doubled() -> Gpt:
    """Return a random GPT-2 in float64."""
    model = random_gpt()
    return Gpt(model.size, {name: weight.double() for name, weight in model.weights.items()})


@pytest.mark.parametrize("m", [UNITS // 2, 3 * UNITS])
def test_masses_are_the_sampled_model(m: int) -> None:
    model = doubled()
    plan = draw_transfer(layout_of(configuration(SIZE)), {"ffn": m}, design="iid", seed=3)
    masses = {ffn(layer): plan.axes[ffn(layer)].counts.double() * (UNITS / m) for layer in range(SIZE.layers)}
    small = transferred(model, plan)
    assert len(small.weights["transformer.h.0.mlp.c_proj.weight"]) == m
    expected = small.logits(SYMBOLS)
    torch.testing.assert_close(MassedGpt(model).logits(SYMBOLS, masses), expected, rtol=1e-10, atol=1e-10)
    assert float((model.logits(SYMBOLS) - expected).abs().max()) > 0.1


@pytest.mark.parametrize("layer", [0, 1])
def test_sampled_losses_are_those_of_the_whole_model(layer: int) -> None:
    model = doubled()
    masses = 1 + torch.rand(2, UNITS, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    expected = [window_loss(MassedGpt(model).logits(SYMBOLS, {ffn(layer): part}), SYMBOLS) for part in masses]
    assert sampled_losses(model, layer, masses, SYMBOLS).tolist() == pytest.approx(expected, rel=1e-12)


def test_gradients_are_differences_of_the_loss() -> None:
    model, h = doubled(), 1e-4
    massed, found = MassedGpt(model), influence_of(model, SYMBOLS, 1, 0)
    for axis, n in massed.sizes.items():
        for unit in range(0, n, max(1, n // 5)):
            step = h * torch.nn.functional.one_hot(torch.tensor(unit), n).double()
            up, down = (window_loss(massed.logits(SYMBOLS, {axis: 1 + s}), SYMBOLS) for s in (step, -step))
            assert (up - down) / (2 * h) == pytest.approx(
                float(found.gradients[axis].mean(dim=0)[unit]), rel=1e-5, abs=1e-8
            )


def test_a_head_of_mass_zero_is_silent() -> None:
    model = doubled()
    changed = MassedGpt(model).changed({"layers.1.head": torch.tensor([1.0, 0.0, 1.0])})
    rows = changed.weights["transformer.h.1.attn.c_proj.weight"]
    width = SIZE.width // SIZE.heads
    assert not rows[width : 2 * width].any()
    assert rows[:width].equal(model.weights["transformer.h.1.attn.c_proj.weight"][:width])


def test_a_grown_model_descends_with_its_source() -> None:
    """Rates: a copy moves as its source does, so that growth of every unit commutes with training."""
    model, drawn = doubled(), [SYMBOLS, SYMBOLS.flip(0)]
    plan = draw_transfer(layout_of(configuration(SIZE)), {"ffn": 3 * UNITS}, seed=1)
    one, other = _descended(transferred(model, plan), drawn, 3.0), transferred(_descended(model, drawn), plan)
    torch.testing.assert_close(one.logits(SYMBOLS), other.logits(SYMBOLS), rtol=1e-9, atol=1e-9)
    plain = _descended(transferred(model, plan), drawn)
    assert float((plain.logits(SYMBOLS) - other.logits(SYMBOLS)).abs().max()) > 1e-6


@pytest.mark.parametrize("name", ["random", *SEEING])
def test_masses_of_a_design_add_up_to_all_units(name: str) -> None:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    masses = _masses(name, features, 20, 0, "a", 0)
    assert float(masses.sum()) == pytest.approx(40)
    assert int((masses != 0).sum()) <= 20
    assert masses.equal(_masses(name, features, 20, 1, "a", 0)) == (name not in DRAWN)


def test_no_cell_in_the_perturbative_range_is_no_ratio() -> None:
    assert _worst_shift((), []) != _worst_shift((), [])


def test_texts_do_not_overlap() -> None:
    def found(*, held_out: bool) -> set[tuple[int, ...]]:
        part: Tensor = cut(48, 64, held_out=held_out)
        assert part.shape == (64, 48)
        return {tuple(window) for window in part.tolist()}

    assert not found(held_out=True) & found(held_out=False)

"""New neurons from a fitted law: drawn jointly, of the law's moments, with its function; whole folders; bad input."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rctheory.architectures.convnet import convnet
from rctheory.architectures.layout import Layout
from rctheory.architectures.mlp import mlp
from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.dynamics import TANH, Network
from rctheory.errors import CheckpointError, ShapeError, UsageError
from rctheory.transfer.apply import RECORD
from rctheory.transfer.generative import Neurons, apply_generation
from rctheory.transfer.transfer_plan import load_plan
from rctheory.transfer.undoing import undo_transfer
from tests.architectures.models import FAMILIES, build, load, logits, save
from tests.helpers import stream
from verification.transfers import layout_of as network_layout

CONFIG = {
    "model_type": "llama",
    "hidden_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 40,
    "vocab_size": 16,
    "num_hidden_layers": 1,
    "mlp_bias": True,
}
LAYOUT = layout_of(CONFIG)
AXIS = "layers.0.ffn"
GATE, UP, DOWN = (f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down"))
BIASES = tuple(f"model.layers.0.mlp.{part}_proj.bias" for part in ("gate", "up"))


def planted(seed: int = 0, rank: int = 3) -> dict[str, Tensor]:
    """Return the feed-forward tensors of neurons with one latent each, of which every weight is linear: no residual."""
    g = stream(seed)
    latents = torch.randn(40, rank, generator=g, dtype=torch.float64)
    read, write = (torch.randn(24, rank, generator=g, dtype=torch.float64) for _ in range(2))
    gate, up, down = (latents @ read.T, 2 * latents @ read.T, write @ latents.T)
    return {GATE: gate, UP: up, DOWN: down, BIASES[0]: 5 * latents[:, 0], BIASES[1]: 7 * latents[:, 0]}


def drawn(tensors: dict[str, Tensor], m: int, layout: Layout = LAYOUT, **options: object) -> dict[str, Tensor]:
    """Draw m neurons of the axis."""
    neurons = Neurons(layout, {AXIS: m}, **options)
    return {name: neurons.draw(name, weights) for name, weights in tensors.items()}


def torn(made: dict[str, Tensor], source: dict[str, Tensor]) -> float:
    """Return the largest distance of what a neuron is in one tensor from what it must be, given another one."""
    m = made[GATE].shape[0]
    rebuilt = torch.linalg.lstsq(source[GATE].T, made[GATE].T).solution  # a drawn row in terms of those of the source
    down = source[DOWN] @ rebuilt * (40 / m)
    errors = [made[UP] - 2 * made[GATE], made[BIASES[1]] - 1.4 * made[BIASES[0]], made[DOWN] - down]
    errors.append(made[BIASES[0]] - (source[BIASES[0]] @ rebuilt))
    return max(float(error.abs().max()) for error in errors)


@pytest.mark.parametrize("smoothing", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("m", [7, 40, 300])
def test_a_neuron_is_drawn_as_one(m: int, smoothing: float) -> None:
    """Gate, up, down and biases of a neuron are linear in one latent, and stay so in neurons that are new."""
    source = planted()
    made = drawn(source, m, smoothing=smoothing)
    assert {name: tuple(w.shape) for name, w in made.items()} == {
        GATE: (m, 24),
        UP: (m, 24),
        DOWN: (24, m),
        BIASES[0]: (m,),
        BIASES[1]: (m,),
    }
    assert torn(made, source) < 1e-5
    distances = torch.cdist(made[GATE], source[GATE]).amin(dim=1)
    assert (float(distances.max()) < 1e-5) == (smoothing == 0)


def test_a_planted_untied_draw_is_seen() -> None:
    """Down columns from a stream of their own: the check of the test above turns red."""
    source, other = planted(), drawn(planted(), 300, seed=1)
    assert torn(drawn(source, 300) | {DOWN: other[DOWN]}, source) > 0.1


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 1.0])
def test_moments_are_those_of_the_law(smoothing: float) -> None:
    """Mean and covariance of the latents of many new neurons, as the entries show them, within four standard errors."""
    source, m = planted(), 40_000
    made = drawn(source, m, smoothing=smoothing)[GATE]
    centred = source[GATE] - source[GATE].mean(dim=0)
    variance = centred.square().mean(dim=0)
    assert bool(((made.mean(dim=0) - source[GATE].mean(dim=0)).abs() < 4 * (variance / m).sqrt()).all())
    cross = (made - made.mean(dim=0)).T @ (made - made.mean(dim=0)) / m - centred.T @ centred / 40
    assert float(cross.abs().max()) < 4 * math.sqrt(3 / m) * float(variance.max())  # at most a normal's fourth moment


def test_a_residual_is_fresh_has_its_scale_and_can_be_left_out() -> None:
    g = stream(3)
    source = {name: w + torch.randn(w.shape, generator=g, dtype=torch.float64) for name, w in planted().items()}
    fresh, again, bare = (drawn(source, 2000, residual=residual) for residual in (True, True, False))
    noise = [(fresh[name] - bare[name]) * (1 if name != DOWN else 2000 / 40) for name in (GATE, UP, DOWN)]
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)
    assert all(0.75 < float(part.std()) < 1.25 for part in noise)
    first, second = (part.flatten() for part in noise[:2])
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.02  # gate and up have their own
    assert torch.linalg.matrix_rank(bare[GATE]) < 12
    assert torch.linalg.matrix_rank(drawn(source, 2000, residual=False, rank=2)[GATE]) == 2


def test_the_function_of_the_law_comes_back_at_the_root_of_the_width() -> None:
    """A network with a mean kernel of rank 2 and nothing else: errors of four times as many neurons are halved."""
    g, n = stream(4), 48
    latents, others = (torch.randn(n, 2, generator=g, dtype=torch.float64) for _ in range(2))
    first = torch.cat([latents, latents.sum(dim=1, keepdim=True)], dim=1)
    weights = (first, 2 * others @ latents.T, others.T.clone())
    equal = torch.full((n,), 1 / n, dtype=torch.float64)
    masses = (torch.ones(3, dtype=torch.float64), equal, equal, torch.ones(2, dtype=torch.float64))
    source = Network(weights, masses, TANH)
    x = torch.randn(5, 3, generator=g, dtype=torch.float64)
    layout, errors = network_layout(source), {}
    for m in (64, 256, 1024):
        inner = torch.full((m,), 1 / m, dtype=torch.float64)
        squares = []
        for seed in range(60):
            neurons = Neurons(layout, {"hidden.1": m, "hidden.2": m}, seed=seed)
            made = {k: neurons.draw(k, w) * (1 if k == "weights.1" else m / n) for k, w in source.tensors().items()}
            network = source.with_tensors(made, (masses[0], inner, inner, masses[-1]))
            squares.append((network.outputs(x) - source.outputs(x)).square().mean())
        errors[m] = float(torch.stack(squares).mean().sqrt())
    slope = math.log(errors[1024] / errors[64]) / math.log(16)
    assert slope == pytest.approx(-0.5, abs=0.1)


def generated(name: str, folder: Path, m: int, **options: object) -> Path:
    """Save the model of a family, draw its neurons anew, and return the target."""
    family = FAMILIES[name]
    save(build(family.model, family.small), folder / "source", torch.float32)
    with open_checkpoint(folder / "source") as checkpoint:
        apply_generation(checkpoint, {"ffn": m}, folder / "target", **options)
    return folder / "target"


@pytest.mark.parametrize("name", FAMILIES)
def test_transformers_loads_every_family(name: str, tmp_path: Path) -> None:
    """No weight is missing, unexpected or of another shape."""
    target = generated(name, tmp_path, 14, smoothing=0.3)
    model = load(name, target)
    assert bool(torch.isfinite(logits(model)).all())
    assert 14 in (getattr(model.config, key, None) for key in ("intermediate_size", "n_inner"))


def test_experts_have_laws_of_their_own(tmp_path: Path) -> None:
    """Each expert is fitted and drawn apart."""
    target = generated("mixtral", tmp_path, 17)
    with open_checkpoint(tmp_path / "source") as source, open_checkpoint(target) as made:
        name = next(name for name in source.layout.tensors if "layers.1." in name and "w1" in name)
        before, after = (c.tensor(name).unflatten(0, (3, -1)) for c in (source, made))
    assert (before.shape[1], after.shape[1]) == (10, 17)
    assert not torch.equal(after[0], after[1])
    fits = json.loads((target / RECORD).read_text())["generated"]["fits"]
    assert [key[-1] for key in fits if "layers.1." in key and "w2" in key] == ["0", "1", "2"]


def test_the_record_draws_the_same_again_and_there_is_no_way_back(tmp_path: Path) -> None:
    options = {"smoothing": 0.25, "seed": 4, "rank": 2, "residual": False}
    target = generated("llama", tmp_path, 14, **options)
    record = json.loads((target / RECORD).read_text())["generated"]
    assert {key: record[key] for key in options} == options
    assert (record["sizes"]["ffn"], record["targets"]["ffn"], len(record["fits"])) == (10, 14, 6)
    assert "not copied" in (target / "README.md").read_text()
    with open_checkpoint(tmp_path / "source") as checkpoint:
        apply_generation(checkpoint, {"ffn": 14}, tmp_path / "again", **options)
    assert (tmp_path / "again/model.safetensors").read_bytes() == (target / "model.safetensors").read_bytes()
    with open_checkpoint(target) as checkpoint, pytest.raises(ShapeError, match="drawn from a fitted law"):
        undo_transfer(checkpoint, tmp_path / "back")
    with pytest.raises(CheckpointError, match="schema"):
        load_plan(target / RECORD)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("axis", ["residual", "layers.0.group", "layers.0.group/head"])
def test_only_hidden_axes_have_new_units(axis: str) -> None:
    with pytest.raises(ShapeError, match=r"expected a hidden axis \(ffn\)"):
        Neurons(LAYOUT, {axis: 8})


def test_channels_are_not_hidden_axes() -> None:
    architecture = convnet(["0", "1", "2"])
    layout = architecture.layout({axis.name: 6 for axis in architecture.axes})
    name = next(i.name for i in layout.axes.values() if i.axis.averaged)
    with pytest.raises(ShapeError, match="which this architecture lacks"):
        Neurons(layout, {name: 8})


@pytest.mark.parametrize("options", [{"smoothing": 1.5}, {"smoothing": math.nan}, {"rank": -1}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="smoothing in"):
        Neurons(LAYOUT, {AXIS: 8}, **options)


def test_weights_that_are_no_law() -> None:
    with pytest.raises(ShapeError, match="as declared"):
        Neurons(LAYOUT, {AXIS: 8}).draw(GATE, torch.zeros(3, 3))
    layout = mlp(3).layout({"input": 3, "hidden.1": 3, "hidden.2": 5, "output": 2})
    with pytest.raises(ShapeError, match=r"tensor weights\.2"):
        Neurons(layout, {"hidden.1": 8, "hidden.2": 8}).draw("weights.2", torch.zeros(5, 3))
    made = Neurons(layout, {"hidden.2": 8}).draw("weights.2", torch.randn(5, 3, generator=stream(0)))
    assert made.shape == (8, 3)  # three units on the other side are too few for a law: weights are the latent

"""Whole checkpoints through a transfer: what transformers loads, what stands beside it, replay, undoing."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import CheckpointError, ShapeError
from rctheory.transfer.apply import RECORD, apply_transfer, write_folder
from rctheory.transfer.transfer_plan import draw_transfer, load_plan, save_plan
from rctheory.transfer.undoing import undo_transfer
from tests.architectures.models import FAMILIES, build, load, logits, save, tiny_model
from tests.transfer.test_operator import tiled
from tests.transfer.test_widen import GROWN

CAUSAL = [name for name, family in FAMILIES.items() if "CausalLM" in family.model or "LMHead" in family.model]


def transferred(name: str, folder: Path, **options) -> Path:
    """Save the model of a family, transfer it, and return the target."""
    family = FAMILIES[name]  # built anew: saving in bfloat16 rounds the model itself
    save(build(family.model, family.small), folder / "source", options.pop("stored", torch.float32))
    with open_checkpoint(folder / "source") as checkpoint:
        plan = draw_transfer(checkpoint.layout, options.pop("changes", GROWN[name]), seed=5)
        apply_transfer(checkpoint, plan, folder / "target", **options)
    return folder / "target"


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a folder."""
    return {key: tensor for path in folder.glob("*.safetensors") for key, tensor in load_file(path).items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_transformers_loads_it_and_it_says_the_same(name: str, tmp_path: Path) -> None:
    """No weight is missing, unexpected or of another shape; the algebra is in float32."""
    target = transferred(name, tmp_path)
    before, after = logits(load(name, tmp_path / "source")), logits(load(name, target))
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


def greedy(model: nn.Module, *, cached: bool) -> list[int]:
    """Return the continuation that a model finds most likely, with or without its cache of keys and values."""
    tokens = torch.tensor([[3, 1, 4]])
    room = min(16, getattr(model.config, "max_position_embeddings", 64) - tokens.shape[1])
    settings = {"max_new_tokens": room, "do_sample": False, "use_cache": cached, "pad_token_id": 0}
    return model.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)[0].tolist()


@pytest.mark.parametrize("name", CAUSAL)
def test_it_goes_on_as_its_source_with_and_without_a_cache(name: str, tmp_path: Path) -> None:
    target, source = load(name, transferred(name, tmp_path)).float(), load(name, tmp_path / "source").float()
    expected = greedy(source, cached=True)
    assert len(expected) == 9
    assert greedy(target, cached=True) == greedy(target, cached=False) == expected
    tokens = torch.tensor([expected])
    with torch.no_grad():
        whole, cache, steps = target(tokens).logits, None, []
        for place in range(tokens.shape[1]):
            step = target(tokens[:, place : place + 1], past_key_values=cache, use_cache=True)
            cache = step.past_key_values
            steps.append(step.logits)
    assert (whole - torch.cat(steps, dim=1)).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "bert"])
def test_shards_and_dtypes(name: str, tmp_path: Path) -> None:
    target = transferred(name, tmp_path, stored=torch.bfloat16, shard_bytes=4000)
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert {tensor.dtype for tensor in tensors_in(target).values()} == {torch.bfloat16}
    assert json.loads((target / "config.json").read_text())["dtype"] == "bfloat16"
    before, after = logits(load(name, tmp_path / "source")), logits(load(name, target))
    assert (before - after).abs().max() <= 0.2 * before.abs().max()  # two to three digits, through two layers


def test_rounding_to_the_stored_dtype_is_told(tmp_path: Path) -> None:
    save(build("LlamaForCausalLM", FAMILIES["llama"].small), tmp_path / "source")
    with open_checkpoint(tmp_path / "source") as checkpoint:
        plan = draw_transfer(checkpoint.layout, {"ffn": 20})
        kept = apply_transfer(checkpoint, plan, tmp_path / "same")
        cast = apply_transfer(checkpoint, plan, tmp_path / "cast", dtype="BF16")
    assert kept.cast_error == 0
    assert 2.0**-11 < cast.cast_error < 2.0**-9
    same, rounded = tensors_in(tmp_path / "same"), tensors_in(tmp_path / "cast")
    assert all(torch.equal(rounded[key], tensor.bfloat16()) for key, tensor in same.items())


def test_what_stands_beside_the_weights(tmp_path: Path) -> None:
    save(tiny_model("llama"), tmp_path / "source")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        (tmp_path / "source" / name).write_text(name)
    (tmp_path / "source" / "training_args.bin").write_text("no")
    (tmp_path / "source" / "config.json").chmod(0o400)
    with open_checkpoint(tmp_path / "source") as checkpoint:
        apply_transfer(checkpoint, draw_transfer(checkpoint.layout, {"ffn": 20}, seed=8), tmp_path / "deep" / "target")
    target = tmp_path / "deep" / "target"
    assert (target / "tokenizer.json").read_text() == "tokenizer.json"
    assert (target / "chat_template.jinja").exists()
    assert (target / "generation_config.json").exists()
    assert not (target / "training_args.bin").exists()
    source = json.loads((tmp_path / "source" / "config.json").read_text())
    config = json.loads((target / "config.json").read_text())
    assert {key for key in config | source if config.get(key) != source.get(key)} == {"intermediate_size"}
    record = json.loads((target / RECORD).read_text())
    assert record["source_config"] == source
    assert record["plan"]["targets"]["ffn"] == 20
    card = (target / "README.md").read_text()
    assert "| ffn | 10 | 20 |" in card
    assert "Every unit is kept" in card


@pytest.mark.parametrize("options", [{}, {"noise": 0.1}, {"design": "iid"}])
def test_a_plan_replays_to_the_same_bytes(tmp_path: Path, options: dict) -> None:
    save(tiny_model("qwen2"), tmp_path / "source")
    changes = {"ffn": 17, "group": 3} if options.get("design") is None else {"ffn": 7}
    with open_checkpoint(tmp_path / "source") as checkpoint:
        plan = draw_transfer(checkpoint.layout, changes, seed=11, **options)
        (tmp_path / "plan.json").write_text(save_plan(plan))
        apply_transfer(checkpoint, plan, tmp_path / "first")
        apply_transfer(checkpoint, load_plan(tmp_path / "plan.json"), tmp_path / "second")
        apply_transfer(checkpoint, load_plan(tmp_path / "first" / RECORD), tmp_path / "third")
        other = draw_transfer(checkpoint.layout, changes, seed=12, **options)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    for again in ("second", "third"):
        assert sorted(path.name for path in (tmp_path / again).iterdir()) == files
        assert all((tmp_path / again / n).read_bytes() == (tmp_path / "first" / n).read_bytes() for n in files)
    assert save_plan(load_plan(tmp_path / "plan.json")) == save_plan(plan) != save_plan(other)


@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral", "gpt2 untied", "gpt_neox", "bert untied"])
def test_undoing_gives_the_files_back(name: str, tmp_path: Path) -> None:
    """Without a tied head every weight comes back bit by bit, fused and split tensors too."""
    save(tiny_model(name), tmp_path / "source")
    with open_checkpoint(tmp_path / "source") as checkpoint:
        plan = draw_transfer(checkpoint.layout, tiled(checkpoint.layout, 3), seed=5)
        apply_transfer(checkpoint, plan, tmp_path / "target")
    with open_checkpoint(tmp_path / "target") as checkpoint:
        undo_transfer(checkpoint, tmp_path / "back")
    source, back = tensors_in(tmp_path / "source"), tensors_in(tmp_path / "back")
    assert set(back) == set(source)
    assert all(torch.equal(back[key], tensor) for key, tensor in source.items())
    configs = [json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("source", "back")]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("name", ["llama", "qwen3", "mixtral", "gpt2 untied", "gpt_neox", "bert untied"])
def test_undoing_gives_half_precision_back(name: str, tmp_path: Path) -> None:
    """Thirds of a bfloat16 are no bfloat16: the last copy makes up for the others after they were rounded."""
    family = FAMILIES[name]
    save(build(family.model, family.small), tmp_path / "source", torch.bfloat16)
    with open_checkpoint(tmp_path / "source") as checkpoint:
        apply_transfer(checkpoint, draw_transfer(checkpoint.layout, tiled(checkpoint.layout, 3)), tmp_path / "target")
    with open_checkpoint(tmp_path / "target") as checkpoint:
        undo_transfer(checkpoint, tmp_path / "back")
    source, back = tensors_in(tmp_path / "source"), tensors_in(tmp_path / "back")
    assert all(torch.equal(back[key], tensor) for key, tensor in source.items())
    assert {tensor.dtype for tensor in back.values()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["llama 3.1 tied", "gpt2", "bert"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_before_a_tied_head_comes_back(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Its copies count by their sum alone, so that the last one can make up for two rounded thirds."""
    family = FAMILIES[name]
    save(build(family.model, family.small), tmp_path / "source", dtype)
    with open_checkpoint(tmp_path / "source") as checkpoint:
        apply_transfer(checkpoint, draw_transfer(checkpoint.layout, tiled(checkpoint.layout, 3)), tmp_path / "target")
    with open_checkpoint(tmp_path / "target") as checkpoint:
        undo_transfer(checkpoint, tmp_path / "back")
    source, back = tensors_in(tmp_path / "source"), tensors_in(tmp_path / "back")
    assert all(torch.equal(back[key], tensor) for key, tensor in source.items())


@pytest.mark.parametrize("name", ["llama", "llama 3.1 tied", "gemma", "gpt2", "bert", "qwen3"])
@pytest.mark.parametrize("factor", [2, 3, "parts", "noise"])
def test_undoing_says_whether_every_bit_is_back(name: str, factor: int | str, tmp_path: Path) -> None:
    """It says so only where it is so, and never where it was scaled or noisy."""
    save(tiny_model(name), tmp_path / "source")
    with open_checkpoint(tmp_path / "source") as checkpoint:
        changes = GROWN[name] if factor == "parts" else tiled(checkpoint.layout, 2 if factor == "noise" else factor)
        plan = draw_transfer(checkpoint.layout, changes, seed=5, noise=0.1 if factor == "noise" else 0.0)
        apply_transfer(checkpoint, plan, tmp_path / "target")
    with open_checkpoint(tmp_path / "target") as checkpoint:
        remark = undo_transfer(checkpoint, tmp_path / "back").remarks[-1]
    source, back = tensors_in(tmp_path / "source"), tensors_in(tmp_path / "back")
    same = all(torch.equal(back[key], tensor) for key, tensor in source.items())
    assert ("Every weight is back" in remark) == same, remark


def test_kernels_compute_on_one_thread_while_files_are_written(tmp_path: Path) -> None:
    """More threads would wait for the one that writes, and for whatever else runs."""
    threads = []

    def make(_name: str, weights: torch.Tensor, *, stored: torch.dtype) -> list[torch.Tensor]:
        threads.append((torch.get_num_threads(), stored))
        return [weights]

    save(tiny_model("llama"), tmp_path / "source")
    before = torch.get_num_threads()
    with open_checkpoint(tmp_path / "source") as checkpoint:
        write_folder(checkpoint, checkpoint.config, make, tmp_path / "target", {}, dtype="BF16")
    assert set(threads) == {(1, torch.bfloat16)}
    assert torch.get_num_threads() == before


def test_a_shrunk_model_loads(tmp_path: Path) -> None:
    target = transferred("llama", tmp_path, changes={"ffn": 6, "group": 1})
    assert json.loads((target / "config.json").read_text())["num_attention_heads"] == 2
    assert torch.isfinite(logits(load("llama", target))).all()
    assert "Units are a sample" in (target / "README.md").read_text()
    with open_checkpoint(target) as checkpoint, pytest.raises(ShapeError, match="a transfer by design balanced"):
        undo_transfer(checkpoint, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_plan_of_another_model_is_refused(tmp_path: Path) -> None:
    for name in ("llama", "qwen3"):
        save(tiny_model(name), tmp_path / name)
    with open_checkpoint(tmp_path / "qwen3") as checkpoint:
        plan = draw_transfer(checkpoint.layout, {"ffn": 12})
    with open_checkpoint(tmp_path / "llama") as checkpoint, pytest.raises(ShapeError, match="a plan for qwen3 of 2"):
        apply_transfer(checkpoint, plan, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_weights_that_are_not_finite_leave_nothing(tmp_path: Path) -> None:
    model = tiny_model("qwen2")
    save(model, tmp_path / "source")
    state = load_file(tmp_path / "source" / "model.safetensors")
    state["model.norm.weight"][2] = torch.inf
    save_file(state, tmp_path / "source" / "model.safetensors", metadata={"format": "pt"})
    with open_checkpoint(tmp_path / "source") as checkpoint:
        plan = draw_transfer(checkpoint.layout, {"ffn": 12})
        with pytest.raises(CheckpointError, match=r"tensor model\.norm\.weight has 1 NaN or infinite entries"):
            apply_transfer(checkpoint, plan, tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_plans_are_legal() -> None:
    """The sizes of a plan are what its configuration says."""
    for family in FAMILIES.values():
        layout = layout_of(family.small)
        plan = draw_transfer(layout, tiled(layout, 2))
        assert layout_of(layout.widths.write(family.small, plan.targets)).sizes == plan.targets

"""`rctheory transfer` as the shell sees it: what it prints and writes, and one line for every bad input."""

import errno
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from rctheory.checkpoints import folder_writer
from tests.checkpoints.folders import CONFIG, save_folder, save_gguf, tiny_weights


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a small Llama."""
    return save_folder(tmp_path / "model", tiny_weights())


@pytest.fixture
def refused(shell: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs the command and returns the line that refuses it; nothing may be left behind."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = shell("transfer", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (out, err)
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


def test_a_transfer_says_what_it_did(model: Path, tmp_path: Path, shell: Callable) -> None:
    target = tmp_path / "wide"
    code, out, err = shell("transfer", model, target, "--set", "ffn=96", "--set", "groups=4", "--save-plan", "p.json")
    assert (code, err) == (0, "")
    assert "every unit kept: exact" in out
    assert f"{target}: 0.0 million weights, 0 MB" in out
    config = json.loads((target / "config.json").read_text())
    assert (config["intermediate_size"], config["num_key_value_heads"], config["num_attention_heads"]) == (96, 4, 8)
    code, out, err = shell("transfer", model, tmp_path / "again", "--plan", "p.json")
    assert (code, err) == (0, "")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (target / "model.safetensors").read_bytes()
    code, out, err = shell("transfer", target, tmp_path / "back", "--undo")
    assert (code, err) == (0, "")
    assert "Every weight is back, bit by bit" in out
    source, back = load_file(model / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in source.items())


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are written to the working folder."""
    monkeypatch.chdir(tmp_path)


def test_legal_widths(model: Path, shell: Callable) -> None:
    code, out, err = shell("transfer", model, "--legal")
    assert (code, err) == (0, "")
    assert "ffn" in out
    assert "any of them" in out


def test_a_weighted_sample_records_its_shares(model: Path, tmp_path: Path, shell: Callable) -> None:
    code, out, err = shell("transfer", model, tmp_path / "small", "--set", "ffn=40", "--design", "weighted")
    assert (code, err) == (0, "")
    assert "a sample (weighted): the function changes" in out
    record = json.loads((tmp_path / "small" / "rctheory_transfer.json").read_text())
    assert len(record["plan"]["axes"]["layers.0.ffn"]["shares"]) == 64


def test_a_sample_says_that_the_function_changes(model: Path, tmp_path: Path, shell: Callable) -> None:
    code, out, _ = shell("transfer", model, tmp_path / "narrow", "--set", "ffn=32", "--design", "iid")
    assert code == 0
    assert "a sample (iid): the function changes" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "residual=30"], "hidden_size = 30; expected a multiple of num_attention_heads = 4; choose"),
        (["--set", "residual=30"], "residual = 28 or 32"),
        (["--set", "group=0"], "expected AXIS=WIDTH with a whole number >= 1"),
        (["--set", "width=9"], "a new width of axis 'width'; expected one of residual, group, head, ffn"),
        (["--set", "vocabulary=9"], "a new width of axis 'vocabulary'; expected one of"),
        (["--set", "ffn"], "--set 'ffn'; expected AXIS=WIDTH"),
        ([], "no new width; expected --set AXIS=WIDTH or --plan FILE"),
        (["--set", "ffn=70", "--design", "best"], "design 'best'; expected one of"),
        (["--set", "ffn=70", "--dtype", "int8"], "dtype 'int8'; expected one of float32"),
        (["--set", "ffn=70", "--noise", "-1"], "noise -1.0; expected a finite number >= 0"),
        (["--set", "ffn=90", "--design", "without-replacement"], "90 units of 64"),
        (["--plan", "missing.json"], "missing.json cannot be read"),
        (["--plan", "missing.json", "--set", "ffn=70"], "--plan together with --set"),
        (["--undo"], "without rctheory_transfer.json"),
        (["--undo", "--set", "ffn=70"], "--undo with options of a new transfer"),
        (["--undo", "--design", "iid"], "--undo with options of a new transfer"),
        (["--legal"], "--legal with a transfer; expected --legal SOURCE alone"),
        (["--set", "ffn=70", "--set", "ffn=80"], "--set ffn to several widths; expected one"),
        (["--set", "group=3", "--set", "groups=4"], "--set group to several widths"),
        (["--set", "ffn=" + "9" * 5000], "expected AXIS=WIDTH with a whole number >= 1"),
        (["--set", "ffn=9999999999999"], "ffn = 9999999999999; expected at most 1048576"),
        (["--set", "residual=30", "--set", "ffn=70"], "choose residual = 28 or 32"),
        (["--plan", "missing.json", "--noise", "0.1"], "--plan together with --noise"),
        (["--plan", "missing.json", "--design", "iid"], "--plan together with --design"),
        (["--plan", "missing.json", "--seed", "1"], "--plan together with --seed"),
        (["--set", "ffn=70", "--save-plan", "model"], "model cannot be written (Is a directory)"),
        (["--set", "ffn=70", "--save-plan", "target"], "--save-plan target in TARGET; expected a file elsewhere"),
        (["--set", "ffn=70", "--save-plan", "target/plan.json"], "in TARGET; expected a file elsewhere"),
        (["--set", "ffn=70", "--verify", " "], "an empty text; expected at least 2 tokens"),
        (["--set", "ffn=70", "--verify", "some words"], "model without a tokenizer that transformers can use"),
    ],
)
def test_bad_options(model: Path, refused: Callable[..., str], options: list[str], words: str) -> None:
    assert words in refused(model, "target", *options)


def test_no_target(model: Path, refused: Callable[..., str]) -> None:
    assert "no TARGET; expected a folder to be made" in refused(model, "--set", "ffn=70")
    assert "no TARGET" in refused(model, "--undo")


def test_a_target_that_exists(model: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "precious").write_text("kept")
    line = refused(model, "target", "--set", "ffn=70", "--save-plan", "plan.json")
    assert "target target exists; expected a folder that does not" in line


def test_a_disk_that_is_full_half_way(model: Path, refused: Callable[..., str], monkeypatch) -> None:
    """The fifth tensor finds no room."""
    calls = []
    original = folder_writer._bytes_of

    def bytes_of(block: torch.Tensor, dtype: torch.dtype) -> memoryview:
        calls.append(dtype)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(block, dtype)

    monkeypatch.setattr(folder_writer, "_bytes_of", bytes_of)
    line = refused(model, "target", "--set", "ffn=70")
    assert "target cannot be written (No space left on device)" in line
    assert "free some space" in line


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    """Return a GGUF file of a small Llama, without a tokenizer."""
    return save_gguf(tmp_path / "model.gguf", tiny_weights())


def test_a_disk_that_is_full_when_the_tokenizer_comes(
    quantised: Path, refused: Callable[..., str], monkeypatch
) -> None:
    """The library raises no narrower class than Exception."""

    def save_pretrained(_folder: str) -> None:
        raise Exception("No space left on device (os error 28)")

    found = SimpleNamespace(save_pretrained=save_pretrained)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: found)
    line = refused(quantised, "target", "--set", "ffn=70")
    assert "the tokenizer cannot be written (No space left on device (os error 28))" in line


def test_a_tokenizer_that_cannot_be_converted_is_said(quantised: Path, shell: Callable) -> None:
    code, out, err = shell("transfer", quantised, "target", "--set", "ffn=70")
    assert code == 0, err
    assert "The tokenizer was left in model.gguf: transformers cannot convert it" in out


@pytest.mark.usefixtures("ended_half_way")
def test_a_job_that_is_ended_half_way_leaves_nothing(model: Path, tmp_path: Path, shell: Callable) -> None:
    code, out, _ = shell("transfer", model, "target", "--set", "ffn=70")
    assert (code, out) == (130, "")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_that_may_not_grow(model: Path, refused: Callable[..., str]) -> None:
    """The system itself refuses a write half-way, in the thread that writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        line = refused(model, "target", "--set", "ffn=70")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "target cannot be written (File too large)" in line


def test_a_disk_that_is_too_small(model: Path, refused: Callable[..., str], monkeypatch) -> None:
    monkeypatch.setattr(folder_writer.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    assert "GB free for target; expected at least" in refused(model, "target", "--set", "ffn=70")


def test_a_tied_head_that_contradicts_its_weights(model: Path, refused: Callable[..., str]) -> None:
    (model / "config.json").write_text(json.dumps(CONFIG | {"tie_word_embeddings": True}))
    assert "untie them in config.json, or remove the copy" in refused(model, "target", "--set", "ffn=70")


def test_an_untied_head_that_is_missing(model: Path, refused: Callable[..., str]) -> None:
    state = load_file(model / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, model / "model.safetensors")
    assert "tensor lm_head.weight is missing" in refused(model, "target", "--set", "ffn=70")


def test_quantised_tensors(model: Path, refused: Callable[..., str]) -> None:
    state = load_file(model / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(state | {name: state[name].to(torch.int8)}, model / "model.safetensors")
    line = refused(model, "target", "--set", "ffn=70")
    assert f"tensor {name} has dtype I8; expected one of" in line
    assert "dequantise the checkpoint" in line


@pytest.mark.parametrize("complete", [True, False])
def test_a_configuration_that_says_quantised(model: Path, refused: Callable[..., str], complete: bool) -> None:
    """Whether its tensors look like others or not."""
    (model / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "gptq"}}))
    if not complete:
        state = load_file(model / "model.safetensors")
        state["model.layers.1.mlp.up_proj.qweight"] = state.pop("model.layers.1.mlp.up_proj.weight").to(torch.int32)
        save_file(state, model / "model.safetensors")
    line = refused(model, "target", "--set", "ffn=70")
    assert "quantised by gptq" in line
    assert "dequantise the checkpoint" in line


def test_a_name_that_is_too_long(model: Path, refused: Callable[..., str]) -> None:
    assert "cannot be written (File name too long)" in refused(model, "a" * 300, "--set", "ffn=70")


def damage(values: dict, what: str) -> dict:
    """Return a plan with one thing wrong."""
    axis = values["axes"]["layers.1.ffn"]
    if what == "schema":
        values["schema"] = "else/1"
    elif what == "fraction":
        axis["indices"][3] = 1.5
    elif what == "beyond":
        axis["indices"][3] = 1000
    elif what == "short":
        axis["indices"].pop()
    elif what == "noise":
        values["noise"] = float("nan")
    elif what == "lost":
        axis["indices"] = [0] * len(axis["indices"])
    elif what == "missing axis":
        del values["axes"]["layers.1.ffn"]
    else:
        del values["targets"]
    return values


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("schema", "without the schema rctheory.transfer-plan/1"),
        ("fraction", "indices that are not whole numbers"),
        ("beyond", "indices of 64 source units"),
        ("short", "a plan with 69 units of axis layers.1.ffn; expected 70, its new width"),
        ("missing axis", "a plan with 64 units of axis layers.1.ffn; expected 70, its new width"),
        ("lost", "63 of 64 units without a copy"),
        ("noise", "noise nan"),
        ("targets", "KeyError"),
    ],
)
def test_a_malformed_plan(model: Path, shell: Callable, refused: Callable[..., str], what: str, words: str) -> None:
    shell("transfer", model, "--set", "ffn=70", "--save-plan", "plan.json")
    values = json.loads(Path("plan.json").read_text())
    Path("plan.json").write_text(json.dumps(damage(values, what)))
    assert words in refused(model, "target", "--plan", "plan.json")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00", "[" * 100_000])
def test_a_plan_that_is_none(model: Path, refused: Callable[..., str], tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    assert "plan.json" in refused(model, "target", "--plan", "plan.json")


def test_a_plan_of_another_model(model: Path, shell: Callable, refused: Callable[..., str], tmp_path: Path) -> None:
    shell("transfer", model, "wide", "--set", "ffn=70", "--save-plan", "plan.json")
    line = refused("wide", "target", "--plan", "plan.json")
    assert "a plan for llama of 2 layers with ffn = 64; expected the model at hand" in line


def test_undoing_a_sample(model: Path, shell: Callable, refused: Callable[..., str]) -> None:
    shell("transfer", model, "narrow", "--set", "ffn=32")
    assert "a transfer by design balanced, which forgot units" in refused("narrow", "target", "--undo")


def test_a_long_text_is_no_path(model: Path, shell: Callable) -> None:
    """Its tokenizer is missing, and that is what the line says."""
    code, _, err = shell("transfer", model, "target", "--set", "ffn=70", "--verify", "word " * 200)
    assert code == 2
    assert "without a tokenizer that transformers can use" in err


def test_new_neurons_are_said_to_be_new(model: Path, tmp_path: Path, shell: Callable) -> None:
    target, options = tmp_path / "new", ("--design", "generative", "--smoothing", 0.3, "--rank", 4)
    code, out, err = shell("transfer", model, target, "--set", "ffn=96", *options, "--no-residual", "--seed", 3)
    assert (code, err) == (0, "")
    assert "every unit is new: the function changes" in out
    assert "mean kernels of 6 matrices predict" in out
    assert json.loads((target / "config.json").read_text())["intermediate_size"] == 96
    record = json.loads((target / "rctheory_transfer.json").read_text())["generated"]
    assert [record[key] for key in ("smoothing", "rank", "residual", "seed")] == [0.3, 4, False, 3]
    code, out, err = shell("transfer", target, tmp_path / "back", "--undo")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "drawn from a fitted law" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "groups=4", "--design", "generative"), "expected a hidden axis (ffn)"),
        (("--set", "residual=64", "--design", "generative"), "expected a hidden axis (ffn)"),
        (("--set", "ffn=96", "--design", "generative", "--smoothing", "2"), "smoothing in [0, 1]"),
        (("--set", "ffn=96", "--design", "generative", "--rank", "-1"), "a rank of at least 0"),
        (("--set", "ffn=96", "--design", "generative", "--noise", "0.1"), "generative with --noise"),
        (("--set", "ffn=96", "--design", "generative", "--save-plan", "p.json"), "generative with --save-plan"),
        (("--plan", "p.json", "--design", "generative"), "generative with --plan"),
        (("--set", "ffn=96", "--smoothing", "0.3"), "--smoothing without new units"),
        (("--set", "ffn=96", "--no-residual"), "--residual without new units"),
        (("--design", "generative"), "no new width"),
    ],
)
def test_bad_requests_for_new_neurons(
    model: Path, tmp_path: Path, refused: Callable[..., str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in refused(model, tmp_path / "target", *arguments)

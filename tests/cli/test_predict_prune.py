"""`rctheory predict` and `rctheory prune` as the shell sees them, on a small Llama that reads characters."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rctheory.calibration.pruning import Calibration, prune
from rctheory.checkpoints.sources import open_checkpoint
from tests.checkpoints.folders import CONFIG, save_folder, tiny_weights

WORDS = "the units of a layer are exchangeable, and so are those of the next one; 1 2 3 4 5. " * 8


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a small Llama with a tokenizer of printable characters."""
    weights = {name: tensor if tensor.ndim == 1 else 0.2 * tensor for name, tensor in tiny_weights().items()}
    folder = save_folder(tmp_path / "model", weights)
    config = CONFIG | {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 64, "bos_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    symbols = {chr(code): code - 32 for code in range(32, 127)} | {"?unknown?": 95}
    tokenizer = Tokenizer(models.WordLevel(symbols, unk_token="?unknown?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?unknown?").save_pretrained(folder)
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Return a text."""
    path = tmp_path / "text.txt"
    path.write_text(WORDS)
    return path


def test_a_prediction_says_what_a_transfer_will_cost(model: Path, text: Path, tmp_path: Path, shell: Callable) -> None:
    files = ("--json", tmp_path / "p.json", "--html", tmp_path / "p.html")
    options = ("--set", "ffn=58", "--set", "groups", "--budget", "0.5", "--window", "32", *files)
    code, out, err = shell("predict", model, "--text", text, *options)
    assert (code, err) == (0, "")
    assert "predicted after the transfer" in out
    assert "a loss change under 0.5 at two standard deviations" in out
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["schema"] == "rctheory.prediction/1"
    assert [axis["axis"] for axis in found["wanted"]["axes"]] == ["layers.0.ffn", "layers.1.ffn"]
    assert found["wanted"]["sd"] == pytest.approx(sum(a["sd"] ** 2 for a in found["wanted"]["axes"]) ** 0.5)
    assert [curve["axis"] for curve in found["curves"]] == ["ffn", "group"]
    costs = [point["shift"] for point in found["curves"][0]["points"]]
    assert costs == sorted(costs, reverse=True)
    cheapest = found["curves"][0]["cheapest"]
    assert cheapest is None or 1 <= cheapest < 64
    page = (tmp_path / "p.html").read_text()
    assert "data:image/png;base64" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_predicted_law_is_that_of_transferred_models(
    model: Path, text: Path, tmp_path: Path, shell: Callable
) -> None:
    """The sd over 40 transfers, each written, loaded by transformers and run on the text.

    The mean is left out: a random model does not predict as well as it believes to, which its prediction assumes.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    code, out, _ = shell(
        "predict", model, "--set", "ffn=60", "--text", text, "--window", "64", "--draws", "8", "--json", "-"
    )
    assert code == 0
    wanted = json.loads(out)["wanted"]
    ids = AutoTokenizer.from_pretrained(model)(WORDS, return_tensors="pt").input_ids[0]
    windows = ids[: 64 * (len(ids) // 64)].reshape(-1, 64)
    losses = []
    for seed in range(40):
        target = tmp_path / f"draw-{seed}"
        options = ("--set", "ffn=60", "--design", "without-replacement", "--seed", seed)
        assert shell("transfer", model, target, *options)[0] == 0
        with torch.no_grad():
            logits = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)(windows).logits[:, :-1]
        losses.append(float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())))
    change = torch.tensor(losses) - wanted["loss"]
    assert float(change.std()) == pytest.approx(wanted["sd"], rel=0.4)  # four standard errors of an sd from 40 draws


@pytest.mark.parametrize("epochs", [0, 2])
def test_pruning_writes_a_model_that_transformers_loads(
    model: Path, text: Path, tmp_path: Path, shell: Callable, epochs: int
) -> None:
    from transformers import AutoModelForCausalLM

    target = tmp_path / "small"
    options = ("--set", "ffn=48", "--set", "group=1", "--text", text, "--generated", "64", "--window", "32")
    code, out, err = shell("prune", model, target, *options, "--epochs", epochs, "--verify", text)
    assert (code, err) == (0, "")
    fitted = "what makes and reads them" if epochs else "their readers"
    assert f"units chosen by elimination, {fitted} refitted" in out
    assert "tokens differ by at most" in out
    loaded, report = AutoModelForCausalLM.from_pretrained(target, output_loading_info=True)
    assert not any(report.values()), report
    assert (loaded.config.intermediate_size, loaded.config.num_key_value_heads) == (48, 1)
    record = json.loads((target / "rctheory_transfer.json").read_text())
    assert "model.layers.1.mlp.down_proj.weight" in record["refitted"]
    kept = record["plan"]["axes"]["layers.0.ffn"]["indices"]
    before, after = (load_file(folder / "model.safetensors") for folder in (model, target))
    gate = "model.layers.0.mlp.gate_proj.weight"
    assert torch.equal(after[gate], before[gate][kept]) is not bool(epochs)
    assert (gate in record["refitted"]) is bool(epochs)
    parts = "down_proj, gate_proj, o_proj, up_proj" if epochs else "down_proj, o_proj"
    card = (target / "README.md").read_text()
    assert f"Fitted on calibration text afterwards, a layer at a time: {parts}." in card
    assert "are a sample" not in card
    code, _, err = shell("transfer", model, tmp_path / "again", "--plan", target / "rctheory_transfer.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "refitted on text; expected a plan from which every weight follows" in err


def tie(folder: Path) -> None:
    """Take the head from a stored model: its embedding stands for it."""
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))


@pytest.mark.parametrize(("tied", "untie"), [(False, False), (True, False), (True, True)])
def test_a_pruned_stream_loads_and_cannot_be_undone(
    tied: bool, untie: bool, model: Path, text: Path, tmp_path: Path, shell: Callable
) -> None:
    from transformers import AutoModelForCausalLM

    if tied:
        tie(model)
    source = json.loads((model / "config.json").read_text())
    m = 3 * source["hidden_size"] // 4
    target = tmp_path / "small"
    options = ("--set", f"residual={m}", "--text", text, "--generated", "0", "--window", "32")
    options += ("--seed", "3", *(("--untie",) if untie else ()))
    code, out, err = shell("prune", model, target, *options, "--verify", text)
    assert (code, err) == (0, "")
    assert "principal directions of the residual stream" in out
    before, after = map(float, re.findall(r"loss ([\d.]+) before, ([\d.]+) after", out)[0])
    assert abs(after - before) < 0.2  # of 5.0 nats
    loaded, report = AutoModelForCausalLM.from_pretrained(target, output_loading_info=True)
    assert not any(report.values()), report
    assert (loaded.config.hidden_size, loaded.config.tie_word_embeddings) == (m, tied and not untie)
    assert loaded.config.rms_norm_eps == source.get("rms_norm_eps", 1e-6)
    one = loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()
    assert one is (tied and not untie)
    card = (target / "README.md").read_text()
    assert ("The head is still the embedding" if one else "The head is its own.") in card
    assert "seed 3, ridge 0.01" in card
    assert "principal directions of a calibration text" in card
    code, _, err = shell("transfer", target, tmp_path / "back", "--undo")
    assert (code, err.count("\n")) == (2, 1)
    assert "turned and cut" in err


@pytest.mark.usefixtures("ended_half_way")
def test_pruning_that_is_ended_half_way_leaves_nothing(
    model: Path, text: Path, tmp_path: Path, shell: Callable
) -> None:
    options = ("--set", "ffn=48", "--text", text, "--generated", "0", "--window", "32")
    code, out, _ = shell("prune", model, tmp_path / "small", *options)
    assert (code, out) == (130, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]


def test_pruning_tells_its_stages(model: Path, text: Path, tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    how = Calibration(generated=64, length=32, influence=64)
    with open_checkpoint(model) as checkpoint:
        prune(
            checkpoint,
            {"ffn": 48},
            [text],
            tmp_path / "small",
            how,
            report_progress=lambda stage, done, total: told.setdefault(stage, []).append((done, total)),
        )
    assert told == {"text written by the model": [(0, 2)], "gradients": [(1, 2), (2, 2)], "layers": [(1, 2), (2, 2)]}


@pytest.mark.parametrize(("generated", "tokens"), [(100, 64), (130, 128), (32, 32)])
def test_windows_of_written_text_are_no_longer_than_the_model_reads(
    model: Path, tmp_path: Path, generated: int, tokens: int
) -> None:
    """The model reads 64 tokens at once; by default windows are longer."""
    with open_checkpoint(model) as checkpoint:
        found = prune(checkpoint, {"ffn": 48}, [], tmp_path / "small", Calibration(generated=generated, influence=64))
    assert found.tokens == tokens


REFUSED = [
    (("predict", "MODEL", "--text", "TEXT"), "no axis; expected --set AXIS=WIDTH"),
    (("predict", "MODEL", "--set", "ffn=9"), "Missing option '--text'"),
    (("predict", "MODEL", "--set", "ffn=9", "--text", "nowhere.txt"), "nowhere.txt cannot be read"),
    (("predict", "MODEL", "--set", "ffn=9", "--text", "empty.txt"), "empty.txt is empty"),
    (("predict", "MODEL", "--set", "fnn=9", "--text", "TEXT"), "axis 'fnn'; expected one of ffn, group"),
    (("predict", "MODEL", "--set", "ffn=0", "--text", "TEXT"), "--set 'ffn=0'"),
    (("predict", "MODEL", "--set", "ffn", "--set", "ffn=3", "--text", "TEXT"), "--set ffn to several widths"),
    (("predict", "MODEL", "--set", "ffn=9", "--text", "TEXT", "--design", "best"), "design 'best'; expected one of"),
    (
        ("predict", "MODEL", "--set", "ffn=9", "--text", "TEXT", "--budget", "-1"),
        "budget -1.0; expected a number above",
    ),
    (("prune", "MODEL", "OUT", "--set", "ffn=99", "--text", "TEXT"), "99 units of axis layers.0.ffn"),
    (("prune", "MODEL", "OUT", "--set", "residual=1000", "--text", "TEXT"), "units of axis residual, which has"),
    (("prune", "MODEL", "OUT", "--set", "residual=16", "--set", "ffn=9", "--text", "TEXT"), "residual and ffn at once"),
    (
        ("prune", "MODEL", "OUT", "--set", "residual=16", "--text", "TEXT", "--select", "herding"),
        "selection 'herding', which chooses units",
    ),
    (
        ("prune", "MODEL", "OUT", "--set", "residual=16", "--text", "TEXT", "--epochs", "4"),
        "4 passes that fit what makes units, of the residual stream",
    ),
    (("prune", "MODEL", "OUT", "--set", "ffn=9", "--text", "TEXT", "--untie"), "a head to be untied"),
    (("prune", "MODEL", "OUT", "--set", "ffn=9", "--generated", "0"), "no text; expected at least one file"),
    (("prune", "MODEL", "OUT", "--set", "ffn=9", "--text", "TEXT", "--select", "best"), "selection 'best'; expected"),
    (("prune", "MODEL", "MODEL", "--set", "ffn=9", "--text", "TEXT"), "exists"),
    (("prune", "MODEL", "OUT", "--set", "ffn", "--text", "TEXT"), "--set 'ffn'; expected AXIS=WIDTH"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...],
    words: str,
    model: Path,
    text: Path,
    tmp_path: Path,
    shell: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text(" ")
    named = {"MODEL": model, "TEXT": text, "OUT": tmp_path / "out"}
    before = sorted(tmp_path.rglob("*"))
    code, out, err = shell(*(named.get(argument, argument) for argument in arguments))
    assert (code, out) == (2, "")
    assert words in err
    assert sorted(tmp_path.rglob("*")) == before

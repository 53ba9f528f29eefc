"""Zero-shot shrink of the packaged Llama model: perplexity by method, kind of text and width, in one run.

    python benchmarks/prune_real.py [--keep 0.75 0.5] [--stream 0.875] [--tokens 63488] [--generated 20480 6144]
                                    [--window 1024] [--judged 10] [--text FILE ...] [--unseen FILE ...]

Calibrated on two kinds of text (Python's documentation, licences), on the first four fifths of files that are named
with `--text`, each a kind of its own, and on text that the model writes itself; judged on other text of these kinds,
and on kinds that calibration never saw: the data set descriptions of scikit-learn, and files named with `--unseen`.
Beside it, from the weights alone: random units scaled by n / m, units of largest weights, and the group importance of
Torch-Pruning. Every model is written, and loaded by transformers without a missing weight. Prints a line of JSON for
each model. `--keep` shrinks the feed-forward layers, `--stream` the residual stream, its head tied as in the source or
untied, beside random coordinates scaled by n / m.
"""

import argparse
import json
import math
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import sklearn.datasets
import torch
from torch import Tensor

from rctheory.calibration.pruning import Calibration, prune
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.numerics import generator
from rctheory.transfer.apply import apply_transfer
from rctheory.transfer.importance import weight_importance
from rctheory.transfer.models import folder_of, load_model, tokenize
from rctheory.transfer.transfer_plan import TransferPlan, draw_transfer
from rctheory.transfer.units import AxisPlan

LICENCES = Path("/usr/share/common-licenses")
HELD_OUT = "GPL-3"
WINDOW = 1024  # tokens that are judged at once
UNTIED = "directions, head untied"
DIRECTIONS = ("directions", UNTIED)


def write_texts(
    folder: Path, known: Sequence[Path] = (), unseen: Sequence[Path] = ()
) -> tuple[list[Path], dict[str, str]]:
    """Write the calibration texts, and return them with the texts to be judged on.

    Args:
        folder: where they are written.
        known: files that are calibrated on and judged on, each a kind of its own.
        unseen: files that are judged on alone.
    """
    names = sorted(topics)
    shuffled = [names[k] for k in torch.randperm(len(names), generator=generator(0, "prune", "topics")).tolist()]
    cut = len(shuffled) * 4 // 5
    licences = sorted(p for p in LICENCES.iterdir() if not p.is_symlink() and p.name != HELD_OUT)
    calibration = {
        "documentation": "\n\n".join(topics[name] for name in shuffled[:cut]),
        "licences": "\n\n".join(path.read_text(errors="replace") for path in licences),
    }
    descriptions = sorted((Path(sklearn.datasets.__file__).parent / "descr").glob("*.rst"))
    judged = {
        "documentation": "\n\n".join(topics[name] for name in shuffled[cut:]),
        "licences": (LICENCES / HELD_OUT).read_text(),
        "unseen: data set descriptions": "\n\n".join(path.read_text() for path in descriptions),
    }
    for path in known:
        text = path.read_text(errors="replace")
        calibration[path.name], judged[path.name] = text[: len(text) * 4 // 5], text[len(text) * 4 // 5 :]
    judged |= {f"unseen: {path.name}": path.read_text(errors="replace") for path in unseen}
    paths = [folder / f"{number}.txt" for number in range(len(calibration))]
    for path, text in zip(paths, calibration.values(), strict=True):
        path.write_text(text)
    return paths, judged


@torch.no_grad()
def losses(model: Any, windows: Tensor) -> Tensor:
    """Return the mean loss of each window (K, T), read on its own: (K,) float64."""
    found = []
    for window in windows:
        logits = model(window[None]).logits[0, :-1]
        found.append(torch.nn.functional.cross_entropy(logits, window[1:]).double())
    return torch.stack(found)


def ratio(after: Tensor, before: Tensor) -> tuple[float, float]:
    """Return the ratio of perplexities and its standard error over windows, which are few and of one text."""
    change = after - before
    found = math.exp(float(change.mean()))
    return found, found * float(change.std()) / math.sqrt(len(change))


def by_scores(checkpoint: Checkpoint, m: int, scores: Mapping[str, Tensor]) -> TransferPlan:
    """Keep the m units of largest score of every FFN; nothing is rescaled."""
    layout = checkpoint.layout
    targets = layout.widths.resize(layout.sizes, {"ffn": m})
    axes = {}
    for axis, values in scores.items():
        kept = values.topk(m).indices.sort().values
        # Shares of 1: what reads the kept units stays as it is.
        axes[axis] = AxisPlan(len(values), kept, exact=False, shares=torch.ones(len(values), dtype=torch.float64))
    return TransferPlan(layout.architecture, layout.layers, layout.sizes, targets, "largest", 0, 0.0, axes)


def torch_pruning_scores(model: Any, axes: Sequence[str]) -> dict[str, Tensor]:
    """Return the group importance that Torch-Pruning gives to every FFN unit."""
    import torch_pruning

    model.config.use_cache = False  # its outputs are traced, and a cache is no tensor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gains of norms are parameters of no layer that it knows
        graph = torch_pruning.DependencyGraph().build_dependency(
            model, torch.randint(100, (1, 8)), output_transform=lambda output: output.logits
        )
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    scores = {}
    for layer, axis in enumerate(axes):
        gate = model.model.layers[layer].mlp.gate_proj
        group = graph.get_pruning_group(gate, torch_pruning.prune_linear_out_channels, list(range(gate.out_features)))
        scores[axis] = importance(group).detach().double()
    return scores


def main() -> None:
    """Shrink by every method and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=float, nargs="*", default=[0.75, 0.5], help="shares of the units that are kept")
    parser.add_argument(
        "--stream", type=float, nargs="*", default=[], help="shares of the residual stream that are kept"
    )
    parser.add_argument("--tokens", type=int, default=63488, help="calibration tokens in all")
    parser.add_argument(
        "--generated", type=int, nargs="+", default=[20480, 6144], help="how many of them the model writes"
    )
    parser.add_argument("--window", type=int, default=Calibration.length, help="tokens that calibration reads at once")
    parser.add_argument("--judged", type=int, default=10, help=f"most windows of {WINDOW} tokens of a judged text")
    parser.add_argument("--select", nargs="+", default=["elimination"], help="ways to choose units")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="further kinds of text, a file each")
    parser.add_argument("--unseen", type=Path, nargs="*", default=[], help="further texts that calibration never sees")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, open_checkpoint("smollm2") as checkpoint:
        folder = Path(place)
        paths, judged = write_texts(folder, options.text, options.unseen)
        with folder_of(checkpoint) as source:
            model = load_model(source)
            ids = {name: tokenize(source, text, WINDOW * options.judged)[0] for name, text in judged.items()}
        windows = {name: t[: len(t) // WINDOW * WINDOW].reshape(-1, WINDOW) for name, t in ids.items()}
        if short := [name for name, part in windows.items() if len(part) < 2]:
            parser.error(f"{', '.join(short)}: fewer than two windows of {WINDOW} tokens; give longer texts")
        before = {name: losses(model, part) for name, part in windows.items()}
        found = {name: math.exp(float(part.mean())) for name, part in before.items()}
        print(json.dumps({"model": "source", "perplexity": found}), flush=True)
        axes = [name for name, instance in checkpoint.layout.axes.items() if instance.axis.name == "ffn"]
        weights = weight_importance(checkpoint)
        scores = {"magnitude": {a: weights(a) for a in axes}, "Torch-Pruning": torch_pruning_scores(model, axes)}
        del model
        alone = ("random + scale", *scores)  # from the weights, without a text
        jobs = [("ffn", s, name, 0) for s in options.keep for name in alone]
        jobs += [("ffn", s, n, g) for s in options.keep for n in options.select for g in options.generated]
        jobs += [("residual", s, "random + scale", 0) for s in options.stream]
        jobs += [("residual", s, n, g) for s in options.stream for n in DIRECTIONS for g in options.generated]
        for axis, share, method, written in jobs:
            m = round(share * checkpoint.layout.sizes[axis])
            started, target = time.perf_counter(), folder / f"{axis}-{method}-{m}-{written}"
            if method in scores:
                apply_transfer(checkpoint, by_scores(checkpoint, m, scores[method]), target)
            elif method == "random + scale":
                drawn = draw_transfer(checkpoint.layout, {axis: m}, design="without-replacement")
                apply_transfer(checkpoint, drawn, target)
            else:
                text, untie = options.tokens - written, method == UNTIED
                how = Calibration(tokens=text, generated=written, length=options.window, untie=untie)
                how = replace(how, select=method) if axis == "ffn" else how
                prune(checkpoint, {axis: m}, paths, target, how)
            seconds = time.perf_counter() - started
            small = load_model(target)
            ratios = {name: ratio(losses(small, part), before[name]) for name, part in windows.items()}
            size = sum(weight.numel() for weight in small.parameters())
            facts = {"model": method, "axis": axis, "kept": share, "seconds": round(seconds, 1), "weights": size}
            facts |= {} if method in alone else {"tokens": options.tokens, "generated": written}
            facts |= {"perplexity_ratio": {name: value for name, (value, _) in ratios.items()}}
            print(json.dumps(facts | {"standard_error": {name: se for name, (_, se) in ratios.items()}}), flush=True)


if __name__ == "__main__":
    main()

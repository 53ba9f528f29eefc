"""Does a transferred model say what its source says? The packaged Llama and BERT models, in transformers, in one run.

Run: `python benchmarks/transfer_real.py [--tokens 1024] [--new 64] [--folder DIR] [--only NAME]`. The Llama model is
widened to twice its residual stream, groups and feed-forward units, and by legal parts of them; the BERT model to twice
its stream and feed-forward units, and to three times its stream (its norms take means and allow multiples alone) with a
part more feed-forward units, on at most 512 tokens. For each transfer one JSON object is printed: largest difference of
the logits (of BERT: hidden states) over a text, in float32 and as a part of their range; losses; whether greedy
continuations agree, and from which token not; the largest difference between decoding token by token with the cache of
keys and values and one full pass; and what rounding to bfloat16 does to either, apart. `transformers` must load every
folder with no weight missing, unexpected or of another shape, or the run stops.
"""

import argparse
import json
import tempfile
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.transfer.apply import apply_transfer
from rctheory.transfer.models import tokenize
from rctheory.transfer.transfer_plan import TransferPlan, draw_transfer
from rctheory.transfer.verification import run_model

CASES = {
    "smollm2 x2": ("smollm2", {"residual": 1152, "group": 6, "ffn": 3072}),
    "smollm2 by parts": ("smollm2", {"residual": 960, "group": 5, "ffn": 2000}),
    "minilm x2": ("minilm", {"residual": 768, "ffn": 3072}),
    "minilm by parts": ("minilm", {"residual": 1152, "ffn": 2000}),
}


def _model(folder: Path) -> nn.Module:
    """Load a causal model in float32."""
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()


@torch.no_grad()
def _continue(model: nn.Module, ids: Tensor, new: int) -> tuple[list[int], Tensor]:
    """Return the greedy continuation, made with the cache, and the logits of every token of it."""
    cache, tokens, logits = None, ids, []
    chosen: list[int] = []
    for _ in range(new):
        output = model(tokens, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits.append(output.logits[0, -1])
        tokens = logits[-1].argmax().reshape(1, 1)
        chosen.append(int(tokens))
    return chosen, torch.stack(logits)


@torch.no_grad()
def _decoding(source: Path, target: Path, ids: Tensor, new: int) -> dict[str, Any]:
    """Compare continuations of source and target, and of the target with its full pass."""
    prompt = ids[:, :32]
    want, _ = _continue(_model(source), prompt, new)
    model = _model(target)
    found, steps = _continue(model, prompt, new)
    whole = model(torch.cat([prompt, torch.tensor([found])], dim=1)).logits[0]
    full = whole[prompt.shape[1] - 1 : -1]
    agreed = next((k for k, (a, b) in enumerate(zip(want, found, strict=True)) if a != b), new)
    return {
        "greedy_tokens_alike": agreed,
        "of": new,
        "cache_against_full_pass": float((steps - full).abs().max()),
        "cache_against_full_pass_of_range": float((steps - full).abs().max() / (full.max() - full.min())),
        "cache_chooses_alike": bool((steps.argmax(-1) == full.argmax(-1)).all()),
    }


def _compared(first: tuple[Tensor, float, str], second: tuple[Tensor, float, str], units: Tensor | None) -> dict:
    """Compare outputs and losses; hidden states of a wider model copy by copy."""
    want = first[0] if units is None else first[0][:, units]
    difference = float((second[0] - want).abs().max())
    size = float(first[0].max() - first[0].min())
    losses = [None if loss != loss else loss for loss in (first[1], second[1])]
    return {"largest_difference": difference, "of_range": difference / size, "losses": losses}


def _case(name: str, changes: dict[str, int], text: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Transfer one model and compare."""
    with open_checkpoint(name) as checkpoint:
        nothing = draw_transfer(checkpoint.layout, {})
        plan: TransferPlan = draw_transfer(checkpoint.layout, changes)
        for kind, drawn, dtype in (
            ("source", nothing, "F32"),
            ("target", plan, "F32"),
            ("source in bf16", nothing, "BF16"),
            ("target in bf16", plan, "BF16"),
        ):
            apply_transfer(checkpoint, drawn, folder / kind, dtype=dtype)
    ids = tokenize(folder / "source", text)[:, : options.tokens]
    runs = {kind: run_model(folder / kind, ids) for kind in ("source", "target", "source in bf16", "target in bf16")}
    states = runs["source"][2] != "logits"
    units = plan.axes["residual"].indices if states else None
    result: dict[str, Any] = {"tokens": runs["source"][0].shape[0], "outputs": runs["source"][2]}
    result["float32"] = _compared(runs["source"], runs["target"], units)
    result["rounding the source to bf16"] = _compared(runs["source"], runs["source in bf16"], None)
    result["rounding the target to bf16"] = _compared(runs["source"], runs["target in bf16"], units)
    if not states:
        result["decoding"] = _decoding(folder / "source", folder / "target", ids, options.new)
    return result


def main() -> None:
    """Run all cases in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--new", type=int, default=64, help="tokens of a continuation")
    parser.add_argument("--folder", type=Path, default=None, help="where there is room for 10 GB")
    parser.add_argument("--only", choices=CASES, default=None)
    options = parser.parse_args()
    text = "\n".join(topics[name] for name in sorted(topics))[:20000]
    for case, (name, changes) in CASES.items():
        if options.only in (None, case):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                found = _case(name, changes, text, options, Path(folder))
            print(json.dumps({"case": case, "widths": changes, **found}, indent=2), flush=True)


if __name__ == "__main__":
    main()

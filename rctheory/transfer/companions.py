"""What stands beside the weights of a transferred model: configuration, tokenizer, model card, record of the plan."""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rctheory.architectures.storage import Naming
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.folder_writer import FolderWriter
from rctheory.errors import CheckpointError, MissingExtraError

CONFIG, CARD = "config.json", "README.md"
GENERATED = "generated"  # entry of the record of a transfer that draws new units
TURNED = "turned"  # entry of the record of a pruned residual stream
COPIED = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
    "generation_config.json",
    "preprocessor_config.json",
)


def write_companions(
    checkpoint: Checkpoint, config: Mapping[str, Any], record: Mapping[str, Any], writer: FolderWriter, name: str
) -> Iterator[str]:
    """Write what stands beside the weights, and yield remarks.

    Args:
        checkpoint: the source.
        config: configuration of the target.
        record: where the weights come from, for the file `name`.
        writer: the folder in the making.
        name: name of the record.
    """
    remarks = []
    writer.write_json(CONFIG, dict(config))
    writer.write_text(name, json.dumps(dict(record), ensure_ascii=False) + "\n")
    writer.write_text(CARD, _card(checkpoint, record))
    folder = checkpoint.path
    if checkpoint.naming is Naming.GGUF and folder is not None:
        remarks += _tokenizer_of_gguf(folder, writer)
    elif folder is not None:
        for path in sorted(folder.iterdir()):
            if path.is_file() and any(fnmatch(path.name, pattern) for pattern in COPIED):
                writer.copy(path)
    return iter(remarks)


def _tokenizer_of_gguf(path: Path, writer: FolderWriter) -> list[str]:
    """Let transformers convert the tokenizer of a GGUF file."""
    if importlib.util.find_spec("transformers") is None:
        return [f"The tokenizer was left in {path.name}: {MissingExtraError.of('transformers', 'huggingface')}"]
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        return [f"The tokenizer was left in {path.name}: transformers cannot convert it ({_first_line(error)})"]
    try:
        tokenizer.save_pretrained(str(writer.folder))
    except Exception as error:  # the tokenizers of transformers raise no narrower class when the disk is full
        found = f"the tokenizer cannot be written ({_first_line(error)})"
        raise CheckpointError(found, "a folder with room that may be written", "free some space") from error
    return []


def _first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _card(checkpoint: Checkpoint, record: Mapping[str, Any]) -> str:
    """Return a model card that says where the weights come from."""
    plan = record.get("plan", {}) or record.get(GENERATED, {}) or record.get(TURNED, {})
    sizes, targets = plan.get("sizes", {}), plan.get("targets", {})
    changed = [f"| {axis} | {sizes[axis]} | {targets[axis]} |" for axis in sizes if sizes[axis] != targets.get(axis)]
    described = _new_units if GENERATED in record else _directions if TURNED in record else _units
    options, kept, replayed = described(plan)
    if record.get("refitted"):
        fitted = sorted({name.split(".")[-2] for name in record["refitted"]})  # of the module that holds a parameter
        kept = (
            "Units were chosen from the source's, and the function has changed. Fitted on calibration text "
            f"afterwards, a layer at a time: {', '.join(fitted)}."
        )
    rows = "\n".join(("| axis | source | here |", "|---|---|---|", *changed))
    return (
        f"---\nlibrary_name: transformers\ntags: [rctheory, weight-transfer]\n---\n\n"
        f"# {Path(checkpoint.source).name or checkpoint.source}, transferred to other widths without training\n\n"
        f"Made with rctheory {record.get('rctheory')} from `{Path(checkpoint.source).name}`; design "
        f"`{plan.get('design')}`, seed {plan.get('seed')}, {options}. {kept}\n\n{rows}\n\n{replayed}\n"
    )


def _units(plan: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what a card says of units that are copies: options, what is kept, where they are written down."""
    exact = all(axis["exact"] for axis in plan.get("axes", {}).values())
    kept = (
        "Every unit is kept: the function of the source is unchanged up to rounding."
        if exact
        else "Units are a sample of the source's: the function has changed."
    )
    return f"noise {plan.get('noise')}", kept, "The plan, unit by unit, is in `rctheory_transfer.json`."


def _new_units(plan: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what a card says of units that are drawn from a fitted law."""
    residual = "a fresh residual" if plan["residual"] else "no residual"
    rank = "every rank" if plan["rank"] is None else f"rank at most {plan['rank']}"
    kept = (
        f"The units of {', '.join(plan['axes'])} are new: drawn from a row-column law that was fitted to the weights "
        "of the source, not copied. The function has changed, and no unit of the source can be found again."
    )
    replayed = "There is no plan of units: seed and options, in `rctheory_transfer.json`, draw the same ones again."
    return f"smoothing {plan['smoothing']}, {rank}, {residual}", kept, replayed


def _directions(plan: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what a card says of a stream that was turned and cut."""
    kept = (
        f"The residual stream was turned to the principal directions of a calibration text, which hold "
        f"{plan['captured']:.1%} of its mean square, and what reads and writes it was refitted by least squares. The "
        "function has changed, and no unit of the source's stream can be found again."
    )
    head = "The head is still the embedding, which is what the head reads." if plan["tied"] else "The head is its own."
    return f"ridge {plan['ridge']:g}", kept, head

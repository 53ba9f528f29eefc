"""Write a declaration and its contract test, from a proposal or as an example to be changed."""

import re
import sys
from keyword import iskeyword
from pathlib import Path
from typing import Any

from rctheory.contracts.proposal import PER_LAYER, Proposal, ProposedTensor, propose, tiny_sizes
from rctheory.contracts.templates import EXAMPLE, EXAMPLE_TEST, PROPOSED_TEST
from rctheory.errors import UsageError

EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")

IMPORTED_MODULES = ("torch", "rctheory", "pytest", "transformers", "numpy")
IMPORTED = ("Architecture", "Axis", "Layout", "Norm", "NormKind", "Role", "Scope", "TensorSpec", "Widths")


def write_architecture(name: str, out: Path, folder: Path | None = None) -> tuple[list[Path], list[str]]:
    """Write `NAME.py` and `test_NAME.py`; nothing is overwritten.

    Args:
        name: a Python identifier.
        out: folder to write into.
        folder: a Hugging Face folder from which axes are proposed.

    Returns:
        The files, and what is left to be decided.

    Raises:
        UsageError: a name that is none, or files that exist.
        CheckpointError: a folder from which nothing can be proposed.
    """
    _require_name(name)
    files = [out / f"{name}.py", out / f"test_{name}.py"]
    for file in files:
        if file.exists():
            raise UsageError(f"{file} exists", "no such file: nothing is overwritten", "choose another name or --out")
    if folder is None:
        texts, open_questions = [EXAMPLE.format(name=name), EXAMPLE_TEST.format(name=name)], []
    else:
        proposal = propose(folder)
        texts, open_questions = [declaration(name, proposal), contract_test(name, proposal)], proposal.undecided
    written: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, text in zip(files, texts, strict=True):
            with file.open("x", encoding="utf-8") as stream:
                written.append(file)
                stream.write(text)
    except OSError as error:
        for file in written:
            file.unlink(missing_ok=True)
        found = f"{out} cannot be written ({error.strerror})"
        raise UsageError(found, "a folder that can be written", "choose another one with --out") from error
    return files, open_questions


def _require_name(name: str) -> None:
    """Refuse a name that the contract test could not import."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or iskeyword(name):
        want = "lower-case letters, digits and _, no word of Python"
        raise UsageError(f"name {name!r}", want, "name it like my_model")
    if name in sys.stdlib_module_names or name in IMPORTED_MODULES:
        raise UsageError(f"name {name!r}", "one that no module has", "name it like my_model")


def declaration(name: str, proposal: Proposal) -> str:
    """Return the text of a declaration."""
    grouped = _grouped(proposal)
    used = {axis for tensor in proposal.tensors for nest in tensor.nests for axis in _nest(nest, grouped)}
    unknown = sorted({n for t in proposal.tensors for n, nest in zip(t.shape, t.nests, strict=True) if not nest})
    specs = [_spec(tensor, grouped) for tensor in proposal.tensors]
    norms = _norms(proposal)
    tables = [t.name for t in proposal.tensors if t.table and t.nests[0] == ("VOCABULARY",)]
    twins = f'\n    twins={{"lm_head.weight": "{tables[0]}"}},' if proposal.tied and tables else ""
    width, heads = proposal.entries["residual"], proposal.entries["heads"]
    implied = f'    head_dim = config.get("head_dim") or config["{width}"] // config["{heads}"]'
    given = '{**config, "head_dim": head_dim}' if proposal.free_head_dim else "config"
    fixed = "".join(f", size_{n}={n}" for n in unknown)
    seen = f"{proposal.widths_seen} width{'s' if proposal.widths_seen > 1 else ''}"
    lines = [
        f'"""{name}: axes proposed from names and shapes of tensors at {seen}; the contract test judges them."""',
        "",
        "from collections.abc import Mapping",
        "from typing import Any",
        "",
        "from rctheory.architectures.spec import (",
        *(f"    {word}," for word in IMPORTED),
        ")",
        "",
        f'MODEL_TYPE = "{proposal.model_type}"',
        "",
        *_axes(proposal, used, grouped),
        *(f'SIZE_{n} = Axis("size_{n}", Role.FIXED, exchangeable=False)  # to be decided: what it is' for n in unknown),
        "",
        "ARCHITECTURE = Architecture(",
        "    MODEL_TYPE,",
        "    (",
        *specs,
        "    ),",
        "    widths=Widths(",
        *_widths(proposal, used, grouped),
        "    ),",
        "    # To be decided: an offset that is added to gains (Gemma: 1), embeddings that are scaled (rooted).",
        f"    norms=({''.join(f'{chr(10)}        {norm},' for norm in norms)}\n    ),{twins}",
        ")",
        "",
        "",
        "def layout_from_config(config: Mapping[str, Any]) -> Layout:",
        '    """Return the layout that a configuration describes."""',
        *([implied] if proposal.free_head_dim else []),
        f"    return ARCHITECTURE.configured({given}{fixed})",
    ]
    return "\n".join(lines) + "\n"


def contract_test(name: str, proposal: Proposal) -> str:
    """Return the text of the contract test; without a class of transformers, an example to be changed."""
    if not proposal.model:
        return EXAMPLE_TEST.format(name=name)
    import transformers

    dropped = (*PER_LAYER, "architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path", "auto_map")
    kept: dict[str, Any] = {key: value for key, value in proposal.config.items() if key not in dropped}
    kept |= tiny_sizes(proposal.config, proposal.entries)
    kept["model_type"] = getattr(transformers, proposal.model).config_class.model_type
    if kept.get("head_dim") is None:
        kept.pop("head_dim", None)
    other = tiny_sizes(proposal.config, proposal.entries, large=True)
    return PROPOSED_TEST.format(name=name, small=_layed_out(kept), other=_layed_out(other), model=proposal.model)


def _layed_out(entries: dict[str, Any]) -> str:
    return "{\n" + "".join(f"    {key!r}: {value!r},\n" for key, value in entries.items()).replace("'", '"') + "}"


def _grouped(proposal: Proposal) -> bool:
    """Return whether several query heads share a key."""
    return "groups" in proposal.entries


def _nest(nest: tuple[str, ...], grouped: bool) -> tuple[str, ...]:
    """Return the axes of a nest; without groups, heads stand in their place."""
    if grouped or "GROUP" not in nest:
        return nest
    return tuple(axis for axis in dict.fromkeys("HEAD" if axis == "GROUP" else axis for axis in nest))


def _spec(tensor: ProposedTensor, grouped: bool) -> str:
    """Return one tensor of the declaration."""
    nests = [_nest(nest, grouped) or (f"SIZE_{n}",) for n, nest in zip(tensor.shape, tensor.nests, strict=True)]
    words = ", ".join("(" + ", ".join(nest) + ("," if len(nest) == 1 else "") + ")" for nest in nests)
    dimensions = f"({words}{',' if len(nests) == 1 else ''})"
    note = f"  # to be decided: {tensor.undecided}" if tensor.undecided else ""
    return f'        TensorSpec("{tensor.name}", {dimensions}{", reads=0" if tensor.table else ""}),{note}'


def _axes(proposal: Proposal, used: set[str], grouped: bool) -> list[str]:
    """Return the axes of the declaration."""
    growing, layer = "exchangeable=True, averaged=True", "scope=Scope.LAYER"
    outer = "GROUP" if grouped else "HEAD"
    rotary = "POSITION" not in used
    shared = any(tensor.nests == (("KEY_DIM",),) for tensor in proposal.tensors)
    key_parent = "shared=True" if shared else f"parent={outer}"
    words = {
        "VOCABULARY": 'Axis("vocabulary", Role.VOCABULARY, exchangeable=False)',
        "POSITION": 'Axis("position", Role.POSITION, exchangeable=False)',
        "RESIDUAL": f'Axis("residual", Role.RESIDUAL, {growing})',
        "FFN": f'Axis("ffn", Role.HIDDEN, {growing}, {layer})',
        "GROUP": f'Axis("group", Role.GROUP, {growing}, {layer})',
        "HEAD": f'Axis("head", Role.HEAD, {growing}, {layer}{", parent=GROUP" if grouped else ""})',
        "KEY_DIM": f'Axis("key_dim", Role.HEAD_DIM, exchangeable={not rotary}, {layer}, {key_parent})',
        "VALUE_DIM": f'Axis("value_dim", Role.HEAD_DIM, exchangeable=True, {layer}, parent={outer})',
    }
    return [f"{axis} = {text}" for axis, text in words.items() if axis in used]


def _widths(proposal: Proposal, used: set[str], grouped: bool) -> list[str]:
    """Return the equations between entries and axes."""
    entries, heads = proposal.entries, "GROUP, HEAD" if grouped else "HEAD"
    equations = [(entries["residual"], "RESIDUAL")] + ([(entries["groups"], "GROUP")] if grouped else [])
    equations.append((entries["heads"], heads))
    inner = ("KEY_DIM", "VALUE_DIM")
    free = proposal.free_head_dim
    equations += [("head_dim", axis) if free else (entries["residual"], f"{heads}, {axis}") for axis in inner]
    equations += [(entries[key], key.upper()) for key in ("ffn", "position", "vocabulary") if key in entries]
    lines = [
        f'            ("{entry}", ({axes}{"" if "," in axes else ","})),'
        for entry, axes in equations
        if set(axes.split(", ")) <= used
    ]
    even = ["        even=(KEY_DIM,),"] if "POSITION" not in used and "KEY_DIM" in used else []
    multiples = f'        multiples=(("{entries["residual"]}", "{entries["heads"]}"),),'
    return ["        (", *lines, "        ),", multiples, *even, f'        layers="{entries["layers"]}",']


def _norms(proposal: Proposal) -> list[str]:
    """Return the norms: those with a bias take their mean off."""
    names = {tensor.name for tensor in proposal.tensors}
    epsilon = next((entry for entry in EPSILONS if entry in proposal.config), "")
    found = [t for t in proposal.tensors if t.norm and t.name.endswith(".weight")]
    last = next((t.name for t in reversed(found) if "{layer}" not in t.name), "")
    table = next((t.name for t in proposal.tensors if t.table and t.nests[0] == ("VOCABULARY",)), "")
    words = []
    for tensor in found:
        name = tensor.name.removesuffix(".weight")
        kind = "LAYER" if f"{name}.bias" in names else "RMS"
        feeds = f', feeds="{table}"' if proposal.tied and tensor.name == last else ""
        stream = f', epsilon="{epsilon}"' if kind == "LAYER" and epsilon else ""
        words.append(f'Norm("{name}", NormKind.{kind}{feeds}{stream})')
    return words

"""Propose the axes of an architecture from a folder: names and shapes of its tensors against its configuration.

A dimension is one of a few nests of axes (the stream, hidden units, heads with their coordinates, ...), each with a
size that the configuration says. Where two have one size, a model of the same class at other widths tells them apart;
what remains is chosen by the name of the tensor and marked as undecided.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rctheory.checkpoints.json_files import read_json
from rctheory.checkpoints.sources import CONFIG, store_of_folder
from rctheory.errors import CheckpointError

KEYS = {
    "residual": ("hidden_size", "n_embd", "d_model", "dim"),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim", "d_ff"),
    "vocabulary": ("vocab_size",),
    "position": ("max_position_embeddings", "n_positions"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "groups": ("num_key_value_heads", "n_kv_heads"),
    "head_dim": ("head_dim",),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
}
LIKELY: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), nests)
    for pattern, nests in (
        (r"(^|\.)(q_proj|query|wq|q)\.", ("queries", "residual")),
        (r"(^|\.)(k_proj|key|wk|k)\.", ("keys", "residual")),
        (r"(^|\.)(v_proj|value|wv|v)\.", ("values", "residual")),
        (r"(^|\.)(o_proj|out_proj|wo|o|attention\.dense|attention\.output\.dense)\.", ("residual", "outputs")),
        (r"(q|k)_(layer)?norm", ("key_dim",)),
        (r"norm|(^|[._])ln", ("residual",)),
        (r"pos.*emb|wpe", ("position", "residual")),
        (r"emb|wte|lm_head|output\.weight", ("vocabulary", "residual")),
        (r"down|fc2|w2\.|dense_4h_to_h|output\.dense", ("residual", "ffn")),
        (r"up|gate_proj|fc1|w1\.|w3\.|c_fc|dense_h_to_4h|intermediate", ("ffn", "residual")),
    )
)
"""What names suggest, for each dimension; the first that matches counts."""
PER_LAYER = ("layer_types", "max_window_layers")  # as many entries as layers; derived where they are missing
NESTS = {
    "residual": ("RESIDUAL",),
    "ffn": ("FFN",),
    "vocabulary": ("VOCABULARY",),
    "position": ("POSITION",),
    "queries": ("GROUP", "HEAD", "KEY_DIM"),
    "keys": ("GROUP", "KEY_DIM"),
    "values": ("GROUP", "VALUE_DIM"),
    "outputs": ("GROUP", "HEAD", "VALUE_DIM"),
    "key_dim": ("KEY_DIM",),
}


@dataclass(frozen=True)
class ProposedTensor:
    """One tensor, or one of each layer.

    Args:
        name: with `{layer}` in place of the number.
        nests: names of the axes of each dimension; empty where no size fits.
        shape: as stored.
        undecided: why a person should look; empty where names and sizes agree on one answer.
    """

    name: str
    nests: tuple[tuple[str, ...], ...]
    shape: tuple[int, ...]
    undecided: str = ""

    @property
    def table(self) -> bool:
        """Return whether rows are looked up."""
        return len(self.nests) > 1 and self.nests[0] in (("VOCABULARY",), ("POSITION",)) and "head" not in self.name

    @property
    def norm(self) -> bool:
        """Return whether it belongs to a norm of the stream."""
        return self.nests == (("RESIDUAL",),) and re.search(r"norm|(^|[._])ln", self.name.lower()) is not None


@dataclass(frozen=True)
class Proposal:
    """What a folder seems to hold.

    Args:
        model_type: of its configuration.
        model: class of transformers that its configuration names; empty where there is none.
        entries: entry of the configuration that holds each size.
        config: the configuration.
        tensors: every tensor.
        widths_seen: at how many widths shapes were compared.
        free_head_dim: coordinates of a head are an entry, or may be one that the configuration leaves out.
    """

    model_type: str
    model: str
    entries: Mapping[str, str]
    config: Mapping[str, Any]
    tensors: tuple[ProposedTensor, ...]
    widths_seen: int
    free_head_dim: bool

    @property
    def undecided(self) -> list[str]:
        """Return what a person has to decide."""
        return [f"{tensor.name}: {tensor.undecided}" for tensor in self.tensors if tensor.undecided]

    @property
    def tied(self) -> bool:
        """Return whether the head is the embedding: no other matrix writes the vocabulary."""
        return not any(t.nests[:1] == (("VOCABULARY",),) and not t.table for t in self.tensors)


def propose(folder: Path) -> Proposal:
    """Propose the axes of every tensor of a Hugging Face folder.

    Raises:
        CheckpointError: no configuration or weights, or a configuration without the entries that hold the sizes.
    """
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"folder {str(folder)!r} without {CONFIG}", "a model folder", "name another folder")
    config = read_json(folder / CONFIG)
    entries = {axis: key for axis, keys in KEYS.items() for key in keys if type(config.get(key)) is int}
    missing = sorted({"residual", "heads", "layers"} - set(entries))
    if missing:
        found = f"{folder / CONFIG} without {' or '.join(KEYS[missing[0]])}"
        raise CheckpointError(found, "the size of every axis", "declare this architecture by hand, without --from-hf")
    shapes = _by_pattern({name: tensor.shape for name, tensor in store_of_folder(folder).tensors().items()})
    model, free_head_dim, wider = _at_other_widths(config, entries)
    looks = [(_sizes(config, entries), shapes)]
    if wider is not None and set(wider[1]) >= set(shapes):
        looks.append((_sizes(wider[0], entries), wider[1]))
    tensors = tuple(_propose(name, [(sizes, found[name]) for sizes, found in looks]) for name in shapes)
    return Proposal(
        str(config.get("model_type")),
        model,
        entries,
        config,
        tensors,
        len(looks),
        free_head_dim or "head_dim" in entries,
    )


def _by_pattern(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return shapes by name with `{layer}` in place of the first number."""
    return {re.sub(r"\.\d+\.", ".{layer}.", name, count=1): tuple(shape) for name, shape in shapes.items()}


def _sizes(config: Mapping[str, Any], entries: Mapping[str, str]) -> dict[str, int]:
    """Return the size of every nest that the configuration determines."""
    found = {axis: int(config[entry]) for axis, entry in entries.items()}
    heads, groups = found["heads"], found.get("groups", found["heads"])
    dim = found.get("head_dim", found["residual"] // heads)
    found.setdefault("ffn", 4 * found["residual"])
    sizes = {name: size for name, size in found.items() if name in ("residual", "ffn", "vocabulary", "position")}
    whole, kept = heads * dim, groups * dim
    return {**sizes, "queries": whole, "keys": kept, "values": kept, "outputs": whole, "key_dim": dim}


def _propose(name: str, looks: list[tuple[dict[str, int], tuple[int, ...]]]) -> ProposedTensor:
    """Propose the axes of one tensor: nests whose sizes fit at every width, the most likely by name among them."""
    shape = looks[0][1]
    likely = _likely(name, len(shape))
    nests, doubts = [], []
    for dimension in range(len(shape)):
        fits = [nest for nest in NESTS if all(sizes.get(nest) == found[dimension] for sizes, found in looks)]
        wanted = next((nest for nest in likely[dimension] if nest in fits), None)
        chosen = wanted or next(iter(fits), None)
        nests.append(NESTS[chosen] if chosen else ())
        if chosen is None:
            doubts.append(f"dimension {dimension} of size {shape[dimension]} is no known axis")
        elif wanted is None and len(fits) > 1:
            doubts.append(f"dimension {dimension} of size {shape[dimension]} may be {' or '.join(fits)}")
    return ProposedTensor(name, tuple(nests), shape, "; ".join(doubts))


def _likely(name: str, dimensions: int) -> list[tuple[str, ...]]:
    """Return the nests that the name of a tensor suggests, for each dimension."""
    found: tuple[str, ...] = ()
    for pattern, nests in LIKELY:
        if pattern.search(name.lower()):
            found = nests
            break
    return [(nest,) for nest in found[:dimensions]] + [()] * (dimensions - len(found))


def _at_other_widths(
    config: Mapping[str, Any], entries: Mapping[str, str]
) -> tuple[str, bool, tuple[dict[str, Any], dict[str, tuple[int, ...]]] | None]:
    """Return the class that a configuration names, whether it has head_dim, and shapes at a second configuration."""
    names = config.get("architectures")
    model = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    try:
        import torch
        import transformers
    except ImportError:
        return model, False, None
    cls = getattr(transformers, model, None) if model else None
    if not isinstance(cls, type) or not hasattr(cls, "config_class"):
        return "", False, None
    other = {key: value for key, value in config.items() if key not in PER_LAYER}
    other |= tiny_sizes(config, entries, large=True)
    entries_of_class = {key: value for key, value in other.items() if key != "model_type"}
    try:
        with torch.device("meta"):
            made = cls.config_class(**entries_of_class)
            state = cls(made).state_dict()
    except Exception:  # whatever a class says of widths that it does not like: then one width has to do
        return model, False, None
    return (
        model,
        hasattr(made, "head_dim"),
        (other, _by_pattern({name: tuple(tensor.shape) for name, tensor in state.items()})),
    )


def tiny_sizes(config: Mapping[str, Any], entries: Mapping[str, str], *, large: bool = False) -> dict[str, int]:
    """Return entries of a tiny configuration, or of another one, in which no two nests have one size."""
    grouped = "groups" in entries and config[entries["groups"]] != config[entries["heads"]]
    small = {"residual": 16, "ffn": 10, "vocabulary": 11, "position": 9, "heads": 4, "layers": 2, "head_dim": 6}
    wide = {"residual": 24, "ffn": 14, "vocabulary": 11, "position": 9, "heads": 6, "layers": 1, "head_dim": 8}
    sizes = wide if large else small
    sizes["groups"] = 2 if grouped else sizes["heads"]
    return {entry: sizes[axis] for axis, entry in entries.items()}

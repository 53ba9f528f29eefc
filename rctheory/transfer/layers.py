"""The layers of a model of transformers, run one by one: what goes into each, and what comes out.

A layer is found by the names of its weights, so that this works for every declared architecture whose stored names are
those of its modules. The stream is kept as a list of chunks of windows; keyword arguments (masks, rotary angles) are
those that the model itself gives to its first layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from rctheory.architectures.layout import Layout
from rctheory.architectures.storage import Naming
from rctheory.errors import ShapeError


class _Reached(Exception):  # noqa: N818  # a signal, not an error
    """The forward pass has come as far as it was wanted."""


@dataclass
class Chunk:
    """Some windows on their way through the layers: the stream (B, T, D), and what each layer is called with."""

    stream: Tensor
    arguments: dict[str, Any] = field(default_factory=dict)


class LayeredModel:
    """A causal model of transformers, layer by layer.

    Args:
        model: its weights stop asking for gradients.
        layout: of its weights.

    Raises:
        ShapeError: its layers are not modules of their own.
    """

    def __init__(self, model: Any, layout: Layout) -> None:
        """Find the layers."""
        model.requires_grad_(requires_grad=False)
        self.model, self.layout = model, layout.found_in(dict(model.named_parameters()))
        self._layers = [self._layer(number) for number in range(layout.layers)]

    def start(self, windows: Tensor, size: int = 8) -> list[Chunk]:
        """Return what goes into the first layer, for windows (N, T), in chunks of `size` windows."""
        return [self._first(part) for part in windows.split(size)]

    def run(self, number: int, chunk: Chunk) -> Tensor:
        """Return what comes out of a layer."""
        out = self._layers[number](chunk.stream, **chunk.arguments)
        stream: Tensor = out[0] if isinstance(out, tuple) else out
        return stream

    def run_until(self, number: int, chunk: Chunk, module: nn.Module) -> Tensor:
        """Return what goes into a module of a layer; nothing after it is computed."""
        with watching(module, stop=True) as seen, suppress(_Reached):
            self.run(number, chunk)
        return seen[0]

    def streams(self, windows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the stream (B, T, D) after every layer, and the logits as a differentiable function of each."""
        seen: list[Tensor] = []

        def begin(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            (args[0] if args else kwargs["hidden_states"]).requires_grad_()  # weights ask for no gradients

        def keep(_module: nn.Module, _args: tuple[Any, ...], out: Any) -> None:
            seen.append(out[0] if isinstance(out, tuple) else out)

        handles = [self._layers[0].register_forward_pre_hook(begin, with_kwargs=True)]
        handles += [layer.register_forward_hook(keep) for layer in self._layers]
        try:
            logits: Tensor = self.model(windows, use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()
        return seen, logits

    def module_of(self, tensor: str) -> nn.Module:
        """Return the module that applies a declared matrix."""
        return self.find(self.layout.place(tensor, Naming.TRANSFORMERS).names[0].rpartition(".")[0])

    def weight(self, tensor: str) -> Tensor:
        """Return a declared matrix that is stored whole, inputs first: (inputs, outputs), a view; or a vector."""
        place, layout = self.layout.place(tensor, Naming.TRANSFORMERS), self.layout.tensors[tensor]
        weight: Tensor = self.model.get_parameter(place.names[0]).detach()
        if len(place.pieces) != 1 or tuple(weight.shape) != layout.shape:
            found = f"tensor {tensor} of {self.layout.architecture}, which is a part of a stored one"
            raise ShapeError(found, "a matrix of its own", "calibrate an axis that such a matrix reads")
        return weight if layout.reads == 0 or weight.ndim == 1 else weight.T

    def find(self, path: str) -> nn.Module:
        """Return a module by its path.

        Raises:
            ShapeError: there is none.
        """
        try:
            return self.model.get_submodule(path)  # type: ignore[no-any-return]  # of an untyped package
        except AttributeError as error:
            found = f"module {path} is not in the model that transformers makes"
            raise ShapeError(found, "the stored names", "use a version of transformers that keeps them") from error

    def parts(self, number: int) -> list[nn.Module]:
        """Return every module inside a layer, but not the layer."""
        return [module for module in self._layers[number].modules() if module is not self._layers[number]]

    def _first(self, windows: Tensor) -> Chunk:
        """Run the model up to its first layer."""
        caught: list[Chunk] = []

        def catch(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            stream = args[0] if args else kwargs.pop("hidden_states")
            caught.append(Chunk(stream, {k: v for k, v in kwargs.items() if k not in ("past_key_values", "use_cache")}))
            raise _Reached

        handle = self._layers[0].register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with suppress(_Reached):
                self.model(windows, use_cache=False)
        finally:
            handle.remove()
        return caught[0]

    def _layer(self, number: int) -> nn.Module:
        """Return the module of one layer, by where its number stands in the names of its weights."""
        names = (
            self.layout.place(n, Naming.TRANSFORMERS).names[0]
            for n, t in self.layout.tensors.items()
            if t.layer == number
        )
        parts = next(names).split(".")
        return self.find(".".join(parts[: parts.index(str(number)) + 1]))


@contextmanager
def watching(module: nn.Module, *, stop: bool = False) -> Iterator[list[Tensor]]:
    """Yield a list that takes what goes into a module; with `stop` the forward pass ends there."""
    seen: list[Tensor] = []

    def look(_module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0])
        if stop:
            raise _Reached

    handle = module.register_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def silenced(module: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that takes what goes into a module, which gives zeros meanwhile: the rest of its layer remains."""
    seen: list[Tensor] = []
    forward: Callable[..., Tensor] = module.forward

    def nothing(x: Tensor) -> Tensor:
        seen.append(x)
        weight = module.get_parameter("weight")
        return x.new_zeros(()).expand(*x.shape[:-1], weight.numel() // x.shape[-1])

    module.forward = nothing
    try:
        yield seen
    finally:
        module.forward = forward


def advance(chunks: Sequence[Chunk], streams: Sequence[Tensor]) -> None:
    """Replace the stream of every chunk."""
    for chunk, stream in zip(chunks, streams, strict=True):
        chunk.stream = stream

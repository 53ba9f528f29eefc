"""The multilayer perceptron: hidden axes grow and are averaged, input and output are fixed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rctheory.architectures.configs import REMEDY
from rctheory.architectures.spec import Architecture, Axis, Layout, Role, Stored, TensorSpec, Widths
from rctheory.errors import CheckpointError, LawError


def mlp(depth: int, *, biases: bool = False, modules: Sequence[str] | None = None) -> Architecture:
    """Declare `weights.1` .. `weights.L`, tensor l of shape (n_l, n_{l-1}), for L = depth.

    The rows of `weights.l` and the columns of `weights.l+1` are the same axis `hidden.l`. The axes are `input`,
    `hidden.1` .. `hidden.L-1`, `output`; their sizes are free (`Architecture.layout`).

    Args:
        depth: number of matrices L.
        biases: declare `biases.1` .. `biases.L` too, which a checkpoint may lack.
        modules: names of the modules that store them as `weight` and `bias`, such as "0", "2", "4" in a sequence of
            linear maps and activations; by default the tensors are stored under their own names.

    Raises:
        LawError: depth below 2: no hidden axis; or another number of modules.
    """
    if depth < 2:
        raise LawError(f"a perceptron of depth {depth}", "depth at least 2", "use at least one hidden layer")
    if modules is not None and len(modules) != depth:
        raise LawError(f"{len(modules)} modules of a perceptron of depth {depth}", "one for each matrix", "name them")
    hidden = [Axis(f"hidden.{k}", Role.HIDDEN, exchangeable=True, averaged=True) for k in range(1, depth)]
    axes = [Axis("input", Role.INPUT, exchangeable=False), *hidden, Axis("output", Role.OUTPUT, exchangeable=False)]
    tensors = []
    for k in range(1, depth + 1):
        weight, bias = (None if modules is None else Stored(f"{modules[k - 1]}.{kind}") for kind in ("weight", "bias"))
        tensors.append(TensorSpec(f"weights.{k}", ((axes[k],), (axes[k - 1],)), stored=weight))
        if biases:
            tensors.append(TensorSpec(f"biases.{k}", ((axes[k],),), stored=bias, optional="biases"))
    widths = Widths(tuple((f"widths.{k}", (axis,)) for k, axis in enumerate(axes)))
    return Architecture(f"mlp of depth {depth}", tuple(tensors), widths=widths)


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout of `{"model_type": "mlp", "widths": [inputs, ..., outputs], "modules": ["0", "2", ...]}`.

    `modules` may be left out: then the stored names are `weights.1`, `biases.1` and so on.

    Raises:
        CheckpointError: widths that are no list of three whole numbers or more, or not one module for each matrix.
    """
    widths, modules = config.get("widths"), config.get("modules")
    if not isinstance(widths, list) or len(widths) < 3:
        want = "a list of at least three whole numbers: inputs, hidden widths, outputs"
        raise CheckpointError(f"widths = {widths!r} in the configuration", want, REMEDY)
    depth = len(widths) - 1
    if modules is not None and not (
        isinstance(modules, list) and len(modules) == depth and all(isinstance(m, str) for m in modules)
    ):
        want = f"a list of {depth} names, one for each matrix"
        raise CheckpointError(f"modules = {modules!r} in the configuration", want, REMEDY)
    return mlp(depth, biases=True, modules=modules).configured(config)

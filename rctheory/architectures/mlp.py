"""The mean-field multilayer perceptron: hidden axes grow and are averaged, input and output are fixed."""

from rctheory.architectures.spec import Architecture, Axis, Role, TensorSpec
from rctheory.errors import LawError


def mlp(depth: int) -> Architecture:
    """Declare `weights.1` .. `weights.L`, tensor l of shape (n_l, n_{l-1}), for L = depth.

    The rows of `weights.l` and the columns of `weights.l+1` are the same axis `hidden.l`. The axes are `input`,
    `hidden.1` .. `hidden.L-1`, `output`; their sizes are free (`Architecture.layout`).

    Raises:
        LawError: depth below 2: no hidden axis.
    """
    if depth < 2:
        raise LawError(f"a perceptron of depth {depth}", "depth at least 2", "use at least one hidden layer")
    hidden = [Axis(f"hidden.{k}", Role.HIDDEN, exchangeable=True, averaged=True) for k in range(1, depth)]
    axes = [Axis("input", Role.INPUT, exchangeable=False), *hidden, Axis("output", Role.OUTPUT, exchangeable=False)]
    tensors = (TensorSpec(f"weights.{k}", ((axes[k],), (axes[k - 1],))) for k in range(1, depth + 1))
    return Architecture(f"mlp of depth {depth}", tuple(tensors))

"""The convolutional network: kernels between channels, then a linear map of what is left of the image."""

from collections.abc import Mapping, Sequence
from typing import Any

from rctheory.architectures.configs import REMEDY
from rctheory.architectures.spec import Architecture, Axis, Layout, Role, TensorSpec, Widths
from rctheory.errors import CheckpointError, LawError

KERNEL_ROWS = Axis("kernel_rows", Role.FIXED, exchangeable=False)
KERNEL_COLUMNS = Axis("kernel_columns", Role.FIXED, exchangeable=False)
# Every channel of the last image is flattened in the same order.
PIXEL = Axis("pixel", Role.POSITION, exchangeable=False, shared=True)
OUTPUT = Axis("output", Role.OUTPUT, exchangeable=False)

NORM = ("weight", "bias", "running_mean", "running_var")


def convnet(modules: Sequence[str], norms: Sequence[str] = ()) -> Architecture:
    """Declare `modules.k.weight` of shape (channels k, channels k-1, height, width) and a last linear map.

    The channels that one kernel writes and the next reads are one axis `channel.k`; those of the image, `channel.0`,
    are fixed. Biases may be missing. Kernels of one network have one height and width.

    Args:
        modules: names of the modules that hold a `weight` and a `bias`: the convolutions, then the linear map.
        norms: names of the batch norms, one for each convolution, or none.

    Raises:
        LawError: fewer than two modules, or neither one norm for each convolution nor none.
    """
    depth = len(modules) - 1
    if depth < 1 or len(norms) not in (0, depth):
        found = f"{depth} convolutions and {len(norms)} norms"
        raise LawError(found, "at least one convolution, and a norm for each or none", "name the modules")
    channels = [Axis("channel.0", Role.INPUT, exchangeable=False)]
    channels += [Axis(f"channel.{k}", Role.CHANNEL, exchangeable=True, averaged=True) for k in range(1, depth + 1)]
    kernel = ((KERNEL_ROWS,), (KERNEL_COLUMNS,))
    specs = []
    for k, module in enumerate(modules[:-1], start=1):
        specs.append(TensorSpec(f"{module}.weight", ((channels[k],), (channels[k - 1],), *kernel)))
        specs.append(TensorSpec(f"{module}.bias", ((channels[k],),), optional="biases"))
    specs += [TensorSpec(f"{n}.{kind}", ((channels[k],),)) for k, n in enumerate(norms, start=1) for kind in NORM]
    specs.append(TensorSpec(f"{modules[-1]}.weight", ((OUTPUT,), (channels[-1], PIXEL))))
    specs.append(TensorSpec(f"{modules[-1]}.bias", ((OUTPUT,),), optional="bias of the last map"))
    buffers = tuple(f"{name}.num_batches_tracked" for name in norms)
    widths = Widths(
        (
            *((f"channels.{k}", (axis,)) for k, axis in enumerate(channels)),
            ("kernel", (KERNEL_ROWS,)),
            ("kernel", (KERNEL_COLUMNS,)),
            ("pixels", (PIXEL,)),
            ("output", (OUTPUT,)),
        )
    )
    return Architecture("convnet", tuple(specs), buffers=buffers, widths=widths)


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout of `{"model_type": "convnet", "channels": [image, .., last], "kernel": .., "pixels": ..,
    "output": .., "modules": [..], "norms": [..]}`: `pixels` of the image that is flattened, names of the modules.

    Raises:
        CheckpointError: a size is missing or is no whole number, or there is not one name for each module.
    """
    channels, modules, norms = (config.get(key, []) for key in ("channels", "modules", "norms"))
    if not isinstance(channels, list) or len(channels) < 2:
        want = "a list of at least two whole numbers: channels of the image, then of each convolution"
        raise CheckpointError(f"channels = {channels!r} in the configuration", want, REMEDY)
    depth = len(channels) - 1
    for key, names, counts in (("modules", modules, (depth + 1,)), ("norms", norms, (0, depth))):
        if not (isinstance(names, list) and len(names) in counts and all(isinstance(name, str) for name in names)):
            want = f"a list of {' or '.join(map(str, counts))} names"
            raise CheckpointError(f"{key} = {names!r} in the configuration", want, REMEDY)
    return convnet(modules, norms).configured(config)

"""Norms: which gains and biases act on the normalised stream of an axis."""

from dataclasses import dataclass, replace
from enum import StrEnum


class NormKind(StrEnum):
    """What a norm divides by: the root mean square of its axis, or its standard deviation after its mean is taken off.

    Units that are copied unequally keep the first when each is scaled; the second only when all have as many copies.
    """

    RMS = "rms"
    LAYER = "layer"


@dataclass(frozen=True)
class Norm:
    """One norm, or one in each layer when its name holds `{layer}`.

    Args:
        name: what its tensors begin with: the gain is `name.weight`, the bias, if any, `name.bias`.
        kind: what it divides by.
        offset: added to the stored gain before it multiplies.
        feeds: the tensor that reads its output while it is the embedding as well; empty where no tied head follows.
        epsilon: entry of the configuration with what is added to the variance; empty where the output of the norm is
            the stream itself, so that it cannot grow by units which carry its mean.
    """

    name: str
    kind: NormKind
    offset: float = 0.0
    feeds: str = ""
    epsilon: str = ""

    @property
    def default_epsilon(self) -> float:
        """Return the epsilon of a configuration that does not say: that of torch and of transformers."""
        return 1e-5

    @property
    def gain(self) -> str:
        """Return the name of the gain."""
        return f"{self.name}.weight"

    @property
    def bias(self) -> str:
        """Return the name that a bias has."""
        return f"{self.name}.bias"

    def in_layer(self, pattern: str, layer: int) -> "Norm":
        """Return the norm of one layer."""
        return replace(self, name=self.name.replace(pattern, str(layer)))

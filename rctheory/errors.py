"""Errors that a user can act on: what was found, what was expected, what to do."""


class RcError(Exception):
    """A mistake in the input, told in one line.

    Args:
        found: what was found, with the name of the offending quantity.
        expected: what was expected in its place.
        remedy: what the user can do about it.
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        """Keep the three parts; the message joins them on one line."""
        self.found, self.expected, self.remedy = (" ".join(part.split()) for part in (found, expected, remedy))
        super().__init__(self.found, self.expected, self.remedy)

    def __str__(self) -> str:
        """Return `found; expected ...; remedy`."""
        return f"{self.found}; expected {self.expected}; {self.remedy}"


class UsageError(RcError):
    """An option or argument that makes no sense."""


class ShapeError(RcError):
    """A tensor whose shape contradicts its declaration."""


class NumericsError(RcError):
    """A quantity that is not finite, or a scheme outside its range of stability."""


class DeviceError(RcError):
    """A device that was asked for and is absent."""


class LawError(RcError):
    """A neuron law, a design or a width that does not define a probability."""


class RegistryError(RcError):
    """A mistake in `claims.toml` or in a link that it holds."""


class EvidenceError(RcError):
    """An `evidence.json` that cannot be read, or that belongs to another run."""


class CheckpointError(RcError):
    """A checkpoint that cannot be read, or that contradicts its architecture."""


class DerivationError(RcError):
    """A step of a derivation that does not hold."""


class MissingExtraError(RcError):
    """An optional dependency that is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> "MissingExtraError":
        """Name the package that is missing and the extra that brings it."""
        return cls(f"package {package} is not installed", "it for this command", f"pip install 'rctheory[{extra}]'")


class ContractError(RcError):
    """A clause of its contract that a declaration breaks."""

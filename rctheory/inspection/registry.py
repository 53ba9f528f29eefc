"""The statistics that `rctheory inspect` knows."""

from collections.abc import Sequence

from rctheory.errors import UsageError
from rctheory.inspection.correlations import Correlations
from rctheory.inspection.matrices import Effects, Fit, Interaction, Regimes, Spectral
from rctheory.inspection.order import Order
from rctheory.inspection.screen import Screen
from rctheory.inspection.statistic import Statistic

STATISTICS: tuple[Statistic, ...] = (
    Screen(),
    Order(),
    Effects(),
    Interaction(),
    Regimes(),
    Spectral(),
    Correlations(),
    Fit(),
)


def choose_statistics(names: Sequence[str] | None) -> tuple[Statistic, ...]:
    """Return the statistics of some names, in the order of the registry; by default those that are on by default.

    Raises:
        UsageError: an unknown name, or none at all.
    """
    if names is None:
        return tuple(statistic for statistic in STATISTICS if statistic.default)
    known = {statistic.name: statistic for statistic in STATISTICS}
    for name in names or ("",):
        if name not in known:
            found = f"statistic {name!r}" if name else "no statistic"
            raise UsageError(found, f"one of {', '.join(known)}", "name one of these for --statistics")
    return tuple(statistic for statistic in STATISTICS if statistic.name in names)

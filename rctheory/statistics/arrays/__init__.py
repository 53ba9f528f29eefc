"""Statistics of row-column exchangeable arrays (..., m, n): tests, intervals, regimes."""

from rctheory.statistics.arrays.correlations import Correlation, between_correlations, within_correlations
from rctheory.statistics.arrays.outcome import ArrayTest, AxisName

__all__ = [
    "ArrayTest",
    "AxisName",
    "Correlation",
    "between_correlations",
    "within_correlations",
]

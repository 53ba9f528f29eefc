"""Statistics of row-column exchangeable arrays (..., m, n): tests, intervals, regimes."""

from rctheory.statistics.arrays.bootstrap import pigeonhole_interval
from rctheory.statistics.arrays.components import Components, components, mean_effects
from rctheory.statistics.arrays.correlations import Correlation, between_correlations, within_correlations
from rctheory.statistics.arrays.dissociation import Dissociation, dissociation
from rctheory.statistics.arrays.four_cycle import interaction
from rctheory.statistics.arrays.helmert import interaction_normal
from rctheory.statistics.arrays.intervals import Interval
from rctheory.statistics.arrays.outcome import ArrayTest, AxisName
from rctheory.statistics.arrays.quadruplets import quadruplet_interval, quadruplet_variance
from rctheory.statistics.arrays.regimes import Regime, classify
from rctheory.statistics.arrays.residuals import ResidualDiagnostics, residual_diagnostics
from rctheory.statistics.arrays.scales import scale_effects

__all__ = [
    "ArrayTest",
    "AxisName",
    "Components",
    "Correlation",
    "Dissociation",
    "Interval",
    "Regime",
    "ResidualDiagnostics",
    "between_correlations",
    "classify",
    "components",
    "dissociation",
    "interaction",
    "interaction_normal",
    "mean_effects",
    "pigeonhole_interval",
    "quadruplet_interval",
    "quadruplet_variance",
    "residual_diagnostics",
    "scale_effects",
    "within_correlations",
]

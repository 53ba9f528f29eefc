"""The regime of an array: which limit law its averages have."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.statistics.arrays.components import mean_effects
from rctheory.statistics.arrays.four_cycle import interaction
from rctheory.statistics.arrays.outcome import ArrayTest, require_arrays
from rctheory.statistics.multiplicity import holm

NAMES = ("pure noise", "degenerate interaction", "non-degenerate")


@dataclass(frozen=True)
class Regime:
    """The regimes of a batch of arrays.

    Args:
        code: (...), int64: index into `NAMES`.
        adjusted: p-values after Holm's adjustment over the three tests of an array, by test.
        tests: `rows` and `columns` (mean effects) and `interaction`.
    """

    code: Tensor
    adjusted: Mapping[str, Tensor]
    tests: Mapping[str, ArrayTest]

    @property
    def non_degenerate(self) -> Tensor:
        """Return where mean effects are established: averages over N x N arrays are normal at the rate N^(-1/2)."""
        return self.code == 2

    @property
    def degenerate(self) -> Tensor:
        """Return where interaction is established and mean effects are not: Gaussian chaos at the rate N^(-1)."""
        return self.code == 1

    @property
    def noise(self) -> Tensor:
        """Return where nothing is established: independent entries as far as can be seen, rate N^(-1)."""
        return self.code == 0

    def names(self) -> list[str]:
        """Return the regimes in words, arrays in order."""
        return [NAMES[code] for code in self.code.reshape(-1).tolist()]


def classify(W: Tensor, *, seed: int, level: float = 0.01) -> Regime:
    """Classify arrays as non-degenerate, degenerate interaction or pure noise.

    An array with mean effects of rows or columns is non-degenerate: sqrt(N) (mean - mu) is asymptotically normal, and
    pigeonhole and U-statistic intervals hold. With interaction but no mean effects (W_ij = r_i c_j, centred factors)
    the limit is a Gaussian chaos at the rate 1/N and they do not. The tests behind it are `mean_effects` of rows and of
    columns, whose level holds under interaction, and `interaction`, whose level holds under mean effects; Holm's method
    adjusts the three, so that the probability to establish anything that is not there is at most `level`.
    What is not established is not excluded: pure noise is what is left, whether or not entries are independent.

    Args:
        W: arrays (..., m, n).
        seed: root seed of the pairing in `interaction`.
        level: family-wise level for each array.

    Raises:
        ShapeError: fewer than four rows or columns.
        UsageError: a level outside (0, 1).
        NumericsError: an entry is NaN or infinite.

    Source: K. Menzel, 2021; claims `array.grand-mean`, `array.calibration`.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a number between 0 and 1", "use 0.01")
    W = require_arrays(W, 4, 4)
    tests = {
        "rows": mean_effects(W, "rows"),
        "columns": mean_effects(W, "columns"),
        "interaction": interaction(W, seed=seed),
    }
    raw = torch.stack([test.p_value for test in tests.values()], dim=-1)
    adjusted = torch.from_numpy(np.apply_along_axis(lambda p: holm(p.tolist()), -1, raw.cpu().numpy())).to(raw)
    means, product = (adjusted[..., :2] <= level).any(dim=-1), adjusted[..., 2] <= level
    code = torch.where(means, 2, torch.where(product, 1, 0))
    return Regime(code, dict(zip(tests, adjusted.unbind(-1), strict=True)), tests)

"""What a test of an array gives back, and what every test of arrays asks of its input."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import require_finite

AxisName = Literal["rows", "columns"]


@dataclass(frozen=True)
class ArrayTest:
    """The outcome of one test on each array of a batch; every field has the leading axes (...) of the arrays.

    Args:
        statistic: the statistic, standardised under the null.
        p_value: its p-value; NaN where the test refuses to give one.
        effect: a dimensionless effect size, as the test documents it; given also where the test refuses.
        refusal: why the test refuses, when any p-value is NaN.
    """

    statistic: Tensor
    p_value: Tensor
    effect: Tensor
    refusal: str = ""


def require_arrays(W: Tensor, rows: int = 2, columns: int = 2) -> Tensor:
    """Return arrays (..., m, n) in float32 or wider.

    Raises:
        ShapeError: fewer than two dimensions, or fewer rows or columns than the statistic needs.
        NumericsError: an entry is NaN or infinite.
    """
    if W.dim() < 2 or W.shape[-2] < rows or W.shape[-1] < columns:
        found = f"an array of shape {tuple(W.shape)}"
        raise ShapeError(found, f"(..., m, n) with m >= {rows} and n >= {columns}", "give a larger array")
    return require_finite("the array", W if W.dtype in (torch.float32, torch.float64) else W.to(torch.float32))


def require_axis(axis: str) -> AxisName:
    """Return `rows` or `columns`.

    Raises:
        UsageError: the axis is neither.
    """
    if axis == "rows":
        return "rows"
    if axis == "columns":
        return "columns"
    raise UsageError(f"axis {axis!r}", "rows or columns", "name one of the two axes of the array")

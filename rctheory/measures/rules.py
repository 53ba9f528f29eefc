"""Rules: m of n units with weights that stand for all of them, and the designs that make rules from features.

A design of `measures.designs` sees numbers of units alone; a feature design sees what the units do. Features are
signatures, activations on probe inputs, or influence functions: whatever the function of the network is smooth in.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rctheory.errors import LawError, ShapeError
from rctheory.measures.features import UnitKernel, centred_features
from rctheory.numerics import tolerance


@dataclass(frozen=True)
class Rule:
    """A quadrature rule on n units: sum_c w_c y_{i_c} for mean_j y_j.

    In a mean-field network w_c is the mass of the copy of unit i_c; in a standard parametrisation what reads it is
    multiplied by n w_c. A weight may be negative, unless its design says otherwise.

    Args:
        size: number n of units.
        indices: unit of each copy, (m,) int64.
        weights: its weight, (m,) float64; they add up to 1.

    Raises:
        ShapeError: an index out of range, as many weights as indices are not there, or they do not add up to 1.
    """

    size: int
    indices: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        """Check indices and weights."""
        shapes = self.indices.ndim == 1 and self.indices.numel() and self.weights.shape == self.indices.shape
        if not shapes or not 0 <= int(self.indices.min()) <= int(self.indices.max()) < self.size:
            found = f"a rule of shape {tuple(self.indices.shape)} on {self.size} units"
            raise ShapeError(found, "an index in range and a weight for each copy", "draw the rule again")
        bound = tolerance(torch.float64, len(self.weights)) * (1 + float(self.weights.abs().sum()))
        if not abs(float(self.weights.sum()) - 1) <= bound:
            raise ShapeError(f"weights that add up to {float(self.weights.sum())}", "1", "divide them by their sum")

    def mean(self, values: Tensor) -> Tensor:
        """Return sum_c w_c y_{i_c} for values y: (..., n) -> (...).

        Raises:
            ShapeError: values of another number of units.
        """
        if values.shape[-1] != self.size:
            raise ShapeError(f"{values.shape[-1]} values", f"one for each of {self.size} units", "pass all of them")
        return values[..., self.indices.to(values.device)] @ self.weights.to(values)

    def reweighted(self, features: Tensor, ridge: float, bandwidth: float | None = None) -> "Rule":
        """Return the same units with the weights that reproduce the mean of the kernel's features phi best.

            min_w |sum_c w_c phi(i_c) - mean phi|^2 + ridge |w - 1/m|^2,  sum_c w_c = 1,  <phi(i), phi(j)> = k(i, j)

        with k scaled to E|phi|^2 = 1. If y_j is a function of norm 1 in the kernel's space plus noise of variance
        `ridge` of each unit, this is the mean square error of the rule, worst case over the function and mean over the
        noise. For m = n distinct units the weights are 1/m. Cost n m K + m^3.

        Args:
            features: what the units do, (n, K).
            ridge: positive; how much of a unit is noise, relative to what the features show.
            bandwidth: of a Gaussian kernel, in root mean square lengths of the features; the linear kernel when None.

        Raises:
            LawError: a ridge or bandwidth that is not positive and finite.
            ShapeError, NumericsError: features of another shape, or not finite.

        Source: kernel quadrature (Bach 2017, JMLR 18); generalised regression estimators of survey sampling.
        """
        if not 0 < ridge < float("inf"):
            raise LawError(f"ridge {ridge}", "a positive finite number", "use the share of variance that is noise")
        kernel = UnitKernel.of(centred_features(features, self.size), bandwidth)
        m = len(self.indices)
        gram = kernel.between(self.indices, self.indices)
        lacking = kernel.means()[self.indices] - gram.mean(dim=1)  # of the weights 1/m
        sides = torch.stack([lacking, torch.ones_like(lacking)], dim=1)
        toward, along = torch.linalg.solve(gram + ridge * torch.eye(m, dtype=torch.float64), sides).T
        weights = 1 / m + toward - along * (toward.sum() / along.sum())
        return Rule(self.size, self.indices, weights / weights.sum())


class FeatureDesign(ABC):
    """A map from features of n units to a rule of m <= n of them.

    Of m = n units the rule is every unit once, exactly, unless units are drawn with replacement (`Importance`).
    """

    name: ClassVar[str]

    def choose(self, features: Tensor, m: int, generator: torch.Generator) -> Rule:
        """Return a rule of m units.

        Args:
            features: what the units do, (n, K), in units that make coordinates comparable.
            m: how many units.
            generator: of a design that draws; the others leave it alone.

        Raises:
            LawError: m is not in 1..n.
            ShapeError, NumericsError: features of another shape, or not finite.
        """
        centred = centred_features(features)
        if not 1 <= m <= len(centred):
            found = f"{m} units of {len(centred)} asked from design {self.name}"
            raise LawError(found, f"1 to {len(centred)}", "use a balanced design to grow")
        return self._choose(centred, m, generator)

    @abstractmethod
    def _choose(self, centred: Tensor, m: int, generator: torch.Generator) -> Rule:
        """Return a rule from features of mean 0, (n, K) float64."""


class Reweighted(FeatureDesign):
    """The units of another design, with the weights of `Rule.reweighted`: kernel quadrature.

    Args:
        base: the design that chooses the units.
        ridge: how much of a unit is noise, relative to what the features show.
        bandwidth: of a Gaussian kernel, in root mean square lengths of the features; the linear kernel when None.
    """

    name = "reweighted"

    def __init__(self, base: FeatureDesign, ridge: float = 1e-3, bandwidth: float | None = None) -> None:
        """Keep them."""
        self.base, self.ridge, self.bandwidth = base, ridge, bandwidth

    def _choose(self, centred: Tensor, m: int, generator: torch.Generator) -> Rule:
        return self.base.choose(centred, m, generator).reweighted(centred, self.ridge, self.bandwidth)

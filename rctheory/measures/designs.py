"""Sampling designs: which m of n units a transfer keeps or copies.

Zero-shot weight transfer is sampling from the empirical row-column measure of the source: one draw per axis, used
by every tensor that touches the axis. One code serves synthetic arrays and checkpoints.
Source: claim `sampling.variance`; the formulas are classical finite-population sampling theory.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from rctheory.errors import LawError


def _power_sums(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_j z_j^2 and sum_j z_j^4 of z = y - mean, over the last dimension."""
    squares = (values - values.mean(dim=-1, keepdim=True)).square()
    return squares.sum(dim=-1), squares.square().sum(dim=-1)


def population_variance(values: Tensor) -> Tensor:
    """Return S^2 = sum_j (y_j - mean)^2 / (n - 1) over the last dimension (0 for a single unit)."""
    n = values.shape[-1]
    centred = values - values.mean(dim=-1, keepdim=True)
    return centred.square().sum(dim=-1) / max(n - 1, 1)


class Design(ABC):
    """A random map from m target units to n source units whose sampled mean is unbiased."""

    name: ClassVar[str]

    def draw(self, n: int, m: int, generator: torch.Generator) -> Tensor:
        """Draw the m source indices: (m,) int64.

        Raises:
            LawError: n or m is not positive, or the design cannot give m units of n.
        """
        self._check(n, m)
        return self._draw(n, m, generator)

    def variance(self, values: Tensor, m: int) -> Tensor:
        """Return the exact variance of (1/m) sum_c y_{i_c} over the draw, for values y: (..., n) -> (...).

        Raises:
            LawError: as in `draw`.
        """
        self._check(values.shape[-1], m)
        return self._variance(values, m)

    def excess_kurtosis(self, values: Tensor, m: int) -> Tensor:
        """Return the exact excess kurtosis of the sampled mean, for values y: (..., n) -> (...).

        It says how far the sampled mean is from a normal law: a few large values make it heavy-tailed when few units
        are left out, and a two-point law when about half of them are. NaN where the mean does not vary.

        Raises:
            LawError: as in `draw`.
        """
        self._check(values.shape[-1], m)
        return self._fourth(values, m) / self._variance(values, m).square() - 3

    def mass_skew(self, n: int, m: int) -> Tensor:
        """Return E[d^3] / E[d^2] of d_j = p_j - 1, the mass of every unit less its mean, (n,); 0 where it is fixed.

        It is the slope of d_j^2 on d_j: where masses are skewed, a square follows what it is the square of.

        Raises:
            LawError: as in `draw`.
        """
        self._check(n, m)
        return self._skew(n, m)

    def absence(self, n: int, m: int) -> Tensor:
        """Return the probability that a unit is not drawn at all, of every unit, (n,) float64.

        Raises:
            LawError: as in `draw`.
        """
        self._check(n, m)
        return self._absence(n, m)

    def _check(self, n: int, m: int) -> None:
        if n < 1 or m < 1:
            raise LawError(f"{m} units of {n} asked from design {self.name}", "at least 1 of 1", "use larger widths")

    @abstractmethod
    def _draw(self, n: int, m: int, generator: torch.Generator) -> Tensor: ...

    @abstractmethod
    def _variance(self, values: Tensor, m: int) -> Tensor: ...

    @abstractmethod
    def _fourth(self, values: Tensor, m: int) -> Tensor:
        """Return the fourth central moment of the sampled mean."""

    @abstractmethod
    def _skew(self, n: int, m: int) -> Tensor: ...

    @abstractmethod
    def _absence(self, n: int, m: int) -> Tensor: ...


def _fourth_of_iid(second: Tensor, fourth: Tensor, m: int) -> Tensor:
    """Return the fourth central moment of a mean of m iid terms with these central moments."""
    return (fourth + 3 * (m - 1) * second.square()) / m**3


def _over(above: Tensor, below: Tensor) -> Tensor:
    """Return a quotient of sums of probabilities; 0 where nothing is drawn, up to rounding."""
    drawn = below > 1e-12
    return torch.where(drawn, above / below.where(drawn, torch.ones(())), torch.zeros(()))


class Independent(Design):
    """Iid draws with replacement. Variance S^2 (n - 1) / (n m)."""

    name = "iid"

    def _draw(self, n: int, m: int, generator: torch.Generator) -> Tensor:
        return torch.randint(n, (m,), generator=generator)

    def _variance(self, values: Tensor, m: int) -> Tensor:
        n = values.shape[-1]
        return population_variance(values) * (n - 1) / (n * m)

    def _fourth(self, values: Tensor, m: int) -> Tensor:
        n, (squares, fourths) = values.shape[-1], _power_sums(values)
        return _fourth_of_iid(squares / n, fourths / n, m)

    def _skew(self, n: int, m: int) -> Tensor:
        return torch.full((n,), (n - 2) / m if n > 1 else 0.0, dtype=torch.float64)

    def _absence(self, n: int, m: int) -> Tensor:
        return torch.full((n,), (1 - 1 / n) ** m, dtype=torch.float64)


class Balanced(Design):
    """Every unit floor(m/n) times, and r = m mod n of them, drawn without replacement, once more.

    Variance (r/m)^2 S^2 (1/r - 1/n): zero when n divides m. For m < n this is sampling without replacement.
    """

    name = "balanced"

    def _draw(self, n: int, m: int, generator: torch.Generator) -> Tensor:
        whole, rest = divmod(m, n)
        extra = torch.randperm(n, generator=generator)[:rest]
        return torch.cat([torch.arange(n).repeat(whole), extra])

    def _variance(self, values: Tensor, m: int) -> Tensor:
        n = values.shape[-1]
        rest = m % n
        return population_variance(values) * (rest / m**2) * (1 - rest / n)

    def _fourth(self, values: Tensor, m: int) -> Tensor:
        """Sums of products over distinct units are power sums, because the values are centred."""
        n, rest, (squares, fourths) = values.shape[-1], m % values.shape[-1], _power_sums(values)
        together = [1.0]  # probability that k given units are all among the r
        for k in range(4):
            together.append(together[-1] * max(rest - k, 0) / max(n - k, 1))
        _, one, two, three, four = together
        fourth = (one - 7 * two + 12 * three - 6 * four) * fourths
        return (fourth + 3 * (two - 2 * three + four) * squares.square()) / m**4

    def _skew(self, n: int, m: int) -> Tensor:
        """Two masses, floor(m/n) n/m and n/m more: the slope is the sum of both less 1."""
        whole, rest = divmod(m, n)
        slope = (2 * whole + 1) * n / m - 2 if rest else 0.0
        return torch.full((n,), slope, dtype=torch.float64)

    def _absence(self, n: int, m: int) -> Tensor:
        return torch.full((n,), max(1 - m / n, 0.0), dtype=torch.float64)


class WithoutReplacement(Balanced):
    """m <= n distinct units. Variance S^2 (1/m - 1/n)."""

    name = "without-replacement"

    def _check(self, n: int, m: int) -> None:
        super()._check(n, m)
        if m > n:
            found = f"{m} units of {n} asked from design {self.name}"
            raise LawError(found, f"at most {n}", "use the balanced or the iid design to grow")


class Stratified(Design):
    """Units in their given order fill [0, 1) in equal parts; one uniform point in each of m equal strata picks a unit.

    Order the units by their latent first: then neighbours are alike and a stratum holds little variance.
    Variance m^-2 sum_k Var(y | stratum k).
    """

    name = "stratified"

    def _draw(self, n: int, m: int, generator: torch.Generator) -> Tensor:
        places = (torch.arange(m) + torch.rand(m, generator=generator, dtype=torch.float64)) * (n / m)
        return places.long().clamp_(max=n - 1)

    def _variance(self, values: Tensor, m: int) -> Tensor:
        shares = self.shares(values.shape[-1], m).to(values)
        first, second = values @ shares.T, values.square() @ shares.T
        return (second - first.square()).clamp_(min=0).sum(dim=-1) / m**2

    def _fourth(self, values: Tensor, m: int) -> Tensor:
        shares = self.shares(values.shape[-1], m).to(values)
        centred = values - values.mean(dim=-1, keepdim=True)
        a, b, c, d = (centred.pow(k) @ shares.T for k in (1, 2, 3, 4))
        variances = (b - a.square()).clamp_(min=0)
        fourths = d - 4 * a * c + 6 * a.square() * b - 3 * a.pow(4)
        cross = variances.sum(dim=-1).square() - variances.square().sum(dim=-1)
        return (fourths.sum(dim=-1) + 3 * cross) / m**4

    def _skew(self, n: int, m: int) -> Tensor:
        shares = self.shares(n, m)
        second = shares * (1 - shares)
        return _over((second * (1 - 2 * shares)).sum(dim=0), second.sum(dim=0)) * (n / m)

    def _absence(self, n: int, m: int) -> Tensor:
        return (1 - self.shares(n, m)).clamp_(min=0).prod(dim=0)

    @staticmethod
    def shares(n: int, m: int) -> Tensor:
        """Return the probability of unit j in stratum k, (m, n): the part of the stratum that the unit covers."""
        edges = torch.arange(n + 1, dtype=torch.float64) * (m / n)
        strata = torch.arange(m, dtype=torch.float64)[:, None]
        return (torch.minimum(edges[1:], strata + 1) - torch.maximum(edges[:-1], strata)).clamp_(min=0)


class Weighted(Design):
    """Iid draws of unit j with probability p_j; the mean is estimated by (1/m) sum_c y_{i_c} / (n p_{i_c}).

    Variance (1/m) sum_j p_j (y_j / (n p_j) - mean)^2 (Hansen and Hurwitz 1943): small where p_j is close to
    proportional to the size of y_j, zero where it is proportional.

    Args:
        probabilities: (n,), positive; scaled to add up to 1.

    Raises:
        LawError: probabilities that are not positive and finite.
    """

    name = "weighted"

    def __init__(self, probabilities: Tensor) -> None:
        """Scale the probabilities."""
        values = probabilities.to(torch.float64)
        if values.ndim != 1 or not bool((torch.isfinite(values) & (values > 0)).all()):
            raise LawError("probabilities of a weighted design", "positive finite numbers", "floor the importance")
        self.probabilities = values / values.sum()

    def shares(self, m: int) -> Tensor:
        """Return by what a copy of each unit is multiplied in a sum: 1 / (m p_j), (n,) float64."""
        return 1 / (m * self.probabilities)

    def _check(self, n: int, m: int) -> None:
        super()._check(n, m)
        if n != len(self.probabilities):
            raise LawError(f"{n} units for {len(self.probabilities)} probabilities", "as many", "weigh every unit")

    def _draw(self, n: int, m: int, generator: torch.Generator) -> Tensor:
        return torch.multinomial(self.probabilities, m, replacement=True, generator=generator)

    def _variance(self, values: Tensor, m: int) -> Tensor:
        n, p = values.shape[-1], self.probabilities.to(values)
        deviation = values / (n * p) - values.mean(dim=-1, keepdim=True)
        return (p * deviation.square()).sum(dim=-1) / m

    def _fourth(self, values: Tensor, m: int) -> Tensor:
        n, p = values.shape[-1], self.probabilities.to(values)
        squares = (values / (n * p) - values.mean(dim=-1, keepdim=True)).square()
        return _fourth_of_iid((p * squares).sum(dim=-1), (p * squares.square()).sum(dim=-1), m)

    def _skew(self, n: int, m: int) -> Tensor:
        p = self.probabilities
        return (1 - 2 * p) / (m * p) if n > 1 else torch.zeros(1, dtype=torch.float64)

    def _absence(self, n: int, m: int) -> Tensor:
        return (1 - self.probabilities).pow(m)


DESIGNS: dict[str, Design] = {d.name: d for d in (Independent(), WithoutReplacement(), Balanced(), Stratified())}
"""Every design that needs no more than its name."""

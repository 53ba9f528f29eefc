"""Claim `sampling.variance`: mean and variance of the sampled mean, over every sample that a design can give."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations, product
from math import prod

import torch
from scipy import stats
from torch import Tensor

from rctheory.measures import DESIGNS, Design, WithoutReplacement
from rctheory.statistics.gates import Estimate, PValues, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.random_networks import largest

Law = dict[tuple[int, ...], float]
"""Probability of each sorted tuple of source indices."""

CASES = (("iid", 5, 3), ("iid", 3, 5), ("without-replacement", 7, 3), ("balanced", 5, 8), ("stratified", 6, 4))
DRAWS = 20_000


def _collect(samples: Iterable[tuple[tuple[int, ...], float]]) -> Law:
    """Add up the probabilities of samples that differ only in their order."""
    law: Law = defaultdict(float)
    for sample, probability in samples:
        law[tuple(sorted(sample))] += probability
    return law


def _subsets(n: int, rest: int, whole: int) -> Law:
    """Take every unit `whole` times and each subset of `rest` units once more."""
    base = tuple(range(n)) * whole
    choices = list(combinations(range(n), rest))
    return _collect([(base + choice, 1 / len(choices)) for choice in choices])


def enumerate_design(name: str, n: int, m: int) -> Law:
    """Enumerate every sample of a design with its probability, from the definition of the design alone."""
    if name == "iid":
        return _collect([(sample, n**-m) for sample in product(range(n), repeat=m)])
    if name == "without-replacement":
        return _subsets(n, m, 0)
    if name == "balanced":
        return _subsets(n, m % n, m // n)
    # Stratified: unit j covers [j/n, (j+1)/n); stratum k picks it with the share of [k/m, (k+1)/m) that it covers.
    cover = [[max(0.0, min((j + 1) / n, (k + 1) / m) - max(j / n, k / m)) * m for j in range(n)] for k in range(m)]
    picks = product(*[[j for j in range(n) if cover[k][j] > 0] for k in range(m)])
    return _collect([(pick, prod(cover[k][j] for k, j in enumerate(pick))) for pick in picks])


def _draw_p_value(law: Law, design: Design, n: int, m: int, stream: torch.Generator) -> float:
    """Test `DRAWS` draws against the enumerated law by chi-square; a sample outside of it is refuted outright."""
    counts = Counter(tuple(sorted(design.draw(n, m, stream).tolist())) for _ in range(DRAWS))
    if set(counts) - set(law):
        return 0.0
    observed = [counts[sample] for sample in law]
    return float(stats.chisquare(observed, [DRAWS * p / sum(law.values()) for p in law.values()]).pvalue)


class BiasedDraw(WithoutReplacement):
    """A planted error: the last unit is never drawn."""

    def _draw(self, n: int, m: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(n - 1, generator=generator)[:m]


def _measure(context: Context, designs: Mapping[str, Design] = DESIGNS) -> Measurement:
    """Compare every design with the enumeration of its samples, and its draws with the enumerated law."""
    bias, variance, p_values = [], [], {}
    for name, n, m in CASES:
        design, law = designs[name], enumerate_design(name, n, m)
        stream = context.generator("sampling", name, n, m)
        values = torch.randn(n, generator=stream, dtype=torch.float64)
        means = torch.stack([values[list(sample)].mean() for sample in law])
        weights = torch.tensor(list(law.values()), dtype=torch.float64)
        expected = (weights * means).sum()
        exact = (weights * (means - expected).square()).sum()
        bias.append(float((expected - values.mean()).abs() / values.abs().max()))
        variance.append(float((design.variance(values, m) - exact).abs() / exact))
        p_values[f"{name} {n} to {m}"] = _draw_p_value(law, design, n, m, stream)
    quantities: dict[str, Quantity] = {
        "bias": Estimate(largest(bias)),
        "variance": Estimate(largest(variance)),
        "draws": PValues(p_values),
    }
    return Measurement(quantities)


# Balanced stands in for without-replacement: they are the same for m < n, and it also takes m > n.
_SWAPPED = {**DESIGNS, "iid": DESIGNS["balanced"], "without-replacement": DESIGNS["iid"]}

EXPERIMENT = Experiment("five designs, every sample enumerated, and 20,000 draws of each", _measure)
SWAPPED_DESIGNS = Experiment(
    "the designs with and without replacement exchanged", lambda context: _measure(context, _SWAPPED)
)
BIASED_DRAW = Experiment(
    "a draw that never takes the last unit",
    lambda context: _measure(context, {**DESIGNS, "without-replacement": BiasedDraw()}),
)

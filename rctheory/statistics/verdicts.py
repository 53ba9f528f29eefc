"""The three verdicts and the order between them."""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """What the evidence says of a claim. Inconclusive is not green."""

    SUPPORTED = "supported"
    INCONCLUSIVE = "inconclusive"
    REFUTED = "refuted"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of the verdicts; of none at all, inconclusive: a claim that nothing judged is not green."""
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.INCONCLUSIVE)


def verdict_of_interval(interval: tuple[float, float], inside: tuple[float, float]) -> Verdict:
    """Judge an interval against the accepted range `inside`.

    Supported when it lies inside, refuted when it is disjoint from it, else inconclusive. NaN is refuted.
    """
    low, high = interval
    if not low <= high:
        return Verdict.REFUTED
    if inside[0] <= low and high <= inside[1]:
        return Verdict.SUPPORTED
    if high < inside[0] or low > inside[1]:
        return Verdict.REFUTED
    return Verdict.INCONCLUSIVE

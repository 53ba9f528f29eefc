"""How much work a run does; apart from the rest, so that the console command starts without torch."""

from enum import StrEnum


class Tier(StrEnum):
    """How much work a run does: a minute, minutes on two cores, or a GPU."""

    SMOKE = "smoke"
    CI = "ci"
    FULL = "full"

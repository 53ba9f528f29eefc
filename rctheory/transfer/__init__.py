"""Operators that move weights between widths."""

from rctheory.transfer.plans import Plan, draw_plan, multiplicities, split_masses
from rctheory.transfer.take import take

__all__ = ["Plan", "draw_plan", "multiplicities", "split_masses", "take"]

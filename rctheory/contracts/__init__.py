"""Contracts: what every declaration of an architecture has to satisfy, as checks made from the declaration alone."""

from rctheory.contracts.checks import CLAUSES, Check, checks
from rctheory.contracts.parametrize import parametrize_contract
from rctheory.contracts.subject import Subject

__all__ = ["CLAUSES", "Check", "Subject", "checks", "parametrize_contract"]

"""Rates, verdicts, gates and permutation tests."""

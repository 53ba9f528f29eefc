"""Tests of `rctheory.inspection`."""

"""Tests of `rctheory.architectures`."""

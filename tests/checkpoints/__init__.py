"""Tests of `rctheory.checkpoints`."""

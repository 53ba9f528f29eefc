"""Lazy readers of stored weights, one tensor at a time."""

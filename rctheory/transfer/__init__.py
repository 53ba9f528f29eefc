"""Operators that move weights between widths."""

"""Theory-first numerical verification of the row-column mean-field ansatz."""

__version__ = "0.1.0"

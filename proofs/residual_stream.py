"""What the widening proofs share: the residual axis, the copies of its coordinates, and zero-sum families.

Coordinate i of the residual stream, i = 1..D, becomes the copies (i, c), c = 1..m_i; the multiplicities m_i are a
symbolic array. A family with a prescribed sum over the copies is an even share plus a family minus its own mean, and
every such family has this form.
"""

from sympy import Expr, IndexedBase, Symbol

from proofs.notation import array, indices, total, width

i, j, c, u, v = indices("i j c u v")  # coordinate, another, its copy, hidden unit, word of the vocabulary
WIDTH, WIDER, UNITS = width("D"), width("D'"), width("F")
COPIES = array("m")
X, GAIN, BIAS, ROOT = array("x"), array("gamma"), array("beta"), Symbol("R", positive=True)
READ, WRITE, HIDDEN = array("W"), array("O"), array("u")


def starred(base: str) -> IndexedBase:
    """Return the array of the wide model that belongs to an array of the narrow one."""
    return array(f"{base}^*")


def over_copies(body: Expr) -> Expr:
    """Return the sum of `body` over all copies (i, c) of all coordinates."""
    return total(body, (c, COPIES[i]), (i, WIDTH))


def of_zero_sum(entry: Expr, copy: Symbol, size: Expr) -> Expr:
    """Return the entry of a family minus its mean over the copies 1..size: the general family of sum zero."""
    return entry - total(entry, (copy, size)) / size

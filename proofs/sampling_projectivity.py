"""Claim `sampling.projectivity`: a sampled m x m sub-array of a row-column array has the law of the m x m array.

The law of an array is that of its independent inputs: row latents, column latents, noise of the entries. A draw without
replacement picks different units, so that what it picks is again independent with the same law; this is an induction
over the draws, at symbolic widths. Then the consequences are counted: all mixed moments up to order four, and those of
a sub-array mean with its symbolic number of draws.
"""

import itertools
from collections.abc import Iterator

from sympy import Expr, Mul, Sum, Symbol
from sympy.utilities.iterables import multiset_partitions

from proofs.chain import Chain, argument
from proofs.laws import Sampled
from proofs.moments import Draws, Neurons
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "sampling.projectivity"
ASSUMPTIONS = (
    "W_ij = F(z_i, z'_j, xi_ij) with independent inputs, identically distributed on each axis; any measurable F",
    "the draws of an axis are without replacement and independent of the array; one draw for all tensors of an axis",
    "the law of an array is determined by that of its inputs; the moments listed, all to order 4, are instances of it",
    "with replacement it is false at finite n: two draws collide with probability 1/n",
)
PLANTS = {
    "with_replacement": "the rows are drawn with replacement",
    "untied_axis": "the tensor that reads an axis uses another draw than the one that writes it",
    "repeated_unit": "the next draw may hit the units that were drawn before",
}

i, j, k, r, s = indices("i j k r s")
POPULATION, OTHER_POPULATION, SAMPLE, OTHER_SAMPLE = width("n"), width("n'"), width("m"), width("m'")
W, V, EARLIER, LATER = array("W"), array("V"), array("G"), array("H")
ROW_DRAW, COLUMN_DRAW, OTHER_DRAW = array("I"), array("J"), array("I'")
ORDER = 4
DRAWN_ROWS, DRAWN_COLUMNS = indices("r_1 r_2 r_3 r_4"), indices("s_1 s_2 s_3 s_4")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    draws = (
        Draws(ROW_DRAW, POPULATION, replacement=chain.planted == "with_replacement"),
        Draws(COLUMN_DRAW, OTHER_POPULATION, replacement=False),
        Draws(OTHER_DRAW, POPULATION, replacement=True),
    )
    law = Sampled(draws, Neurons(frozenset({W, V, EARLIER, LATER})))
    chain.laws = (law,)
    _fresh_latents(chain)
    _moments(chain)
    _shared_axis(chain)
    _statistic(chain)
    _with_replacement(chain)


derive = argue.derive


def _fresh_latents(chain: Chain) -> None:
    """The induction over the draws: any function of the earlier ones, any function of the next one."""
    drawn = width("a")
    start = 1 if chain.planted == "repeated_unit" else drawn + 1
    left = POPULATION - drawn
    chance = Symbol("P_next")
    chain.define(
        "Number the units so that the first a draws hit 1, ..., a; each other unit is next with probability",
        chance,
        1 / left,
    )
    chain.step("These are probabilities.", _over(chance, start), 1)
    chain.step(
        "Let G be any function of the latents drawn so far (unit 0 stands for them all) and H one of a single latent. "
        "The next unit is new, whichever it is: its latent is independent of the earlier ones and has their law. By "
        "induction the drawn latents are independent and identically distributed; different pairs of draws read "
        "different cells, so the noise is too. All inputs of F keep their law, and with them the sub-array.",
        Expectation(_over(EARLIER[0] * LATER[j] / left, start)),
        Expectation(EARLIER[0]) * Expectation(LATER[j]),
    )


def _over(body: Expr, start: Expr) -> Expr:
    return Sum(body, (j, start, POPULATION))


def patterns(order: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield the products of `order` entries up to relabelling of rows, of columns and of the factors."""
    seen = set()
    places = list(range(order))
    for rows, columns in itertools.product(list(multiset_partitions(places)), repeat=2):
        row_of = {place: number for number, block in enumerate(rows) for place in block}
        column_of = {place: number for number, block in enumerate(columns) for place in block}
        product = [(row_of[place], column_of[place]) for place in places]
        form = min(_relabelled(product, a, b) for a in _orders(len(rows)) for b in _orders(len(columns)))
        if form not in seen:
            seen.add(form)
            yield form


def _orders(size: int) -> list[tuple[int, ...]]:
    return list(itertools.permutations(range(size)))


def _relabelled(
    product: list[tuple[int, int]], rows: tuple[int, ...], columns: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((rows[row], columns[column]) for row, column in product))


def _moments(chain: Chain) -> None:
    for order in range(1, ORDER + 1):
        for pattern in patterns(order):
            cells = [(DRAWN_ROWS[row], DRAWN_COLUMNS[column]) for row, column in pattern]
            chain.step(
                f"A mixed moment of order {order} of drawn entries is that of the small array.",
                Expectation(Mul(*(W[ROW_DRAW[row], COLUMN_DRAW[column]] for row, column in cells))),
                Expectation(Mul(*(W[cell] for cell in cells))),
            )


def _shared_axis(chain: Chain) -> None:
    reader = OTHER_DRAW if chain.planted == "untied_axis" else ROW_DRAW
    one, two = DRAWN_ROWS[:2]
    drawn = (V[k, reader[unit]] * W[ROW_DRAW[unit], COLUMN_DRAW[s]] for unit in (one, two))
    chain.step(
        "An axis between two tensors is drawn once, and their joint moments survive as well.",
        Expectation(Mul(*drawn)),
        Expectation(V[k, one] * W[one, s] * V[k, two] * W[two, s]),
    )


def mean_of(entry: Expr) -> Expr:
    """Return the mean of the small array."""
    return total(entry, (r, SAMPLE), (s, OTHER_SAMPLE)) / (SAMPLE * OTHER_SAMPLE)


def _statistic(chain: Chain) -> None:
    for power in (1, 2, 3):
        chain.step(
            f"Moment {power} of the mean over all m m' drawn entries: free of the population sizes.",
            Expectation(mean_of(W[ROW_DRAW[r], COLUMN_DRAW[s]]) ** power),
            Expectation(mean_of(W[r, s]) ** power),
        )


def _with_replacement(chain: Chain) -> None:
    entries = W[OTHER_DRAW[r], j] * W[OTHER_DRAW[s], k]
    collision = Expectation(W[r, j] * W[r, k]) - Expectation(W[r, j]) ** 2
    chain.step(
        "With replacement the claim is false: two draws hit one unit with probability 1/n, and independent entries "
        "become correlated.",
        Expectation(entries) - Expectation(W[r, j] * W[s, k]),
        collision / POPULATION,
    )

"""Claim `widening.gqa`: three exact ways to widen grouped-query attention with rotary positions.

Copy whole groups, in any multiplicity; copy queries inside groups; or give copies of a shared key-value head to parts
of its queries. The first two split the output columns among the copies of a head, the third splits nothing. What one
head computes (norms of queries and keys, rotary positions, weights over the past) is copied with it.
"""

from dataclasses import dataclass

from sympy import Expr, IndexedBase, Integer, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.flat_axes import Offset, division
from proofs.notation import Activation, array, index, indices, total, width
from proofs.residual_stream import of_zero_sum
from proofs.rotary import product, turned
from rctheory.suite.derivation import Scope

CLAIM = "widening.gqa"
ASSUMPTIONS = (
    "one attention layer; numbers of groups and queries, multiplicities, the head width 2h and the context are symbols",
    "the head width is kept, and with it the rotary angles and the scale of the scores",
    "weights over the past are Phi(score) over their sum; softmax is Phi = exp",
    "stored layouts want equally many queries in every group: the multiplicities inside each group have one sum",
)
PLANTS = {
    "group_undivided": "the copies of a group keep whole output columns",
    "query_undivided": "the copies of a query keep whole output columns",
    "unshared_divided": "un-sharing splits the output columns too",
    "key_of_other_group": "a part of the queries meets the key of another group",
    "norm_not_copied": "the gains of the query norm are not copied with the head",
}

g, r, c, t, s, a, b, i = indices("g r c t s a b i")
GROUPS, QUERIES, HALF, PARTS = width("G"), width("Q"), width("h"), width("B")
COPIES, COPIES_OF_QUERY, THETA = array("m"), array("n"), array("theta")
EPS, SPREAD = Symbol("epsilon", positive=True), array("N")

Head = tuple[Symbol, ...]


class Weight(Activation):
    """The positive function of the score whose normalised values weigh the past; softmax is the exponential."""

    letter, tex = "Phi", r"\Phi"


@dataclass(frozen=True)
class Layer:
    """Attention whose query heads have the indices `query` and whose key-value heads have the indices `key`."""

    mark: str
    query: Head
    key: Head

    def of(self, letter: str) -> IndexedBase:
        """Return an array of this layer."""
        return array(f"{letter}^{self.mark}" if self.mark else letter)

    def define(self, chain: Chain) -> None:
        """Define norms, scores and outputs of its heads from raw queries q, keys k and values v."""
        normed_query, normed_key, scores = self.of("qn"), self.of("kn"), self.of("S")
        chain.define(
            "Norm the query of a head,", normed_query[(*self.query, t, c)], self._normed("q", "gamma", self.query)
        )
        chain.define("norm the key,", normed_key[(*self.key, t, c)], self._normed("k", "zeta", self.key))
        chain.define("turn both by their positions and let them meet;", scores[(*self.query, t, s)], self.score())
        chain.define(
            "the head takes values of the past in the weights of its scores.",
            self.of("o")[(*self.query, t, c)],
            self._mixed(),
        )

    def writes(self, *axes: tuple[Symbol, Expr]) -> Expr:
        """Return what all heads, which run over `axes`, write to coordinate i of the stream."""
        head = self.of("O")[(i, *self.query, c)] * self.of("o")[(*self.query, t, c)]
        return total(head, (c, 2 * HALF), *axes)

    def _normed(self, letter: str, gain: str, head: Head) -> Expr:
        vector = self.of(letter)
        square = total(vector[(*head, t, c)] ** 2, (c, 2 * HALF)) / (2 * HALF)
        return self.of(gain)[(*head, c)] * vector[(*head, t, c)] / sqrt(square + EPS)

    def score(self) -> Expr:
        """Return the score of query token t and key token s: pairs (c, c + h) turned by position times theta_c."""
        pairs = []
        for letter, head, token in (("qn", self.query, t), ("kn", self.key, s)):
            vector = self.of(letter)
            pairs.append(turned((vector[(*head, token, c)], vector[(*head, token, c + HALF)]), token * THETA[c]))
        return total(product(*pairs), (c, HALF)) / sqrt(2 * HALF)

    def _mixed(self) -> Expr:
        other = index("s'")
        weight, weights = (Weight(self.of("S")[(*self.query, t, token)]) for token in (s, other))
        return total(weight * self.of("v")[(*self.key, s, c)], (s, t)) / total(weights, (other, t))


NARROW = Layer("", (g, r), (g,))
GROUPED = Layer("*", (g, a, r), (g, a))  # copy a of group g
REPEATED = Layer("+", (g, r, b), (g,))  # copy b of query r inside its group
UNSHARED = Layer("o", (g, a, r), (g, a))  # part a of the queries of group g, with a key and value of its own
PARTED = Layer("p", (g, a, r), (g,))  # the narrow layer again, its queries counted by part


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    NARROW.define(chain)
    _copy_groups(chain)
    _copy_queries(chain)
    PARTED.define(chain)
    _unshare(chain)
    _places(chain)


derive = argue.derive


def _copy_head(chain: Chain, wide: Layer, narrow: Layer, sentence: str, key: Head = (g,)) -> None:
    """Copy everything that a head is made of, and show that the copy has the scores of its source."""
    gain = narrow.of("gamma")[(*narrow.query, c)]
    if chain.planted == "norm_not_copied":
        gain = wide.of("phi")[(*wide.query, c)]
    chain.define("Copy the query rows,", wide.of("q")[(*wide.query, t, c)], narrow.of("q")[(*narrow.query, t, c)])
    chain.define("the gain of their norm,", wide.of("gamma")[(*wide.query, c)], gain)
    chain.define("the key rows", wide.of("k")[(*wide.key, t, c)], narrow.of("k")[(*key, t, c)])
    chain.define("with their gain", wide.of("zeta")[(*wide.key, c)], narrow.of("zeta")[(*key, c)])
    chain.define("and the value rows.", wide.of("v")[(*wide.key, t, c)], narrow.of("v")[(*key, t, c)])
    wide.define(chain)
    scores = narrow.of("S")[(*narrow.query, t, s)]
    chain.step(sentence, wide.of("S")[(*wide.query, t, s)], scores)
    chain.define("Give these scores a name,", scores, narrow.of("A")[(*narrow.query, t, s)], why="a name")
    chain.define("the same one in the copy.", wide.of("S")[(*wide.query, t, s)], scores, why="the step above")


def _split(chain: Chain, wide: Layer, copy: Symbol, size: Expr, *, whole: bool) -> None:
    """Define the output columns of copies: even shares, and noise of sum zero over the copies."""
    noise = of_zero_sum(SPREAD[(i, *wide.query, c)], copy, size)
    share = NARROW.of("O")[i, g, r, c] / (Integer(1) if whole else size)
    chain.define(
        "Split the output columns of the head evenly among its copies, plus any noise of sum zero.",
        wide.of("O")[(i, *wide.query, c)],
        share + noise,
    )


def _copy_groups(chain: Chain) -> None:
    _copy_head(
        chain, GROUPED, NARROW, "First way: copy whole groups, group g m_g times. A copy of a head has its scores."
    )
    chain.step("It takes the same from the past,", GROUPED.of("o")[g, a, r, t, c], NARROW.of("o")[g, r, t, c])
    _split(chain, GROUPED, a, COPIES[g], whole=chain.planted == "group_undivided")
    chain.step(
        "and the layer writes what it wrote, whatever the multiplicities.",
        GROUPED.writes((r, QUERIES), (a, COPIES[g]), (g, GROUPS)),
        NARROW.writes((r, QUERIES), (g, GROUPS)),
    )


def _copy_queries(chain: Chain) -> None:
    _define_scores(chain, NARROW)
    size, sentence = (
        COPIES_OF_QUERY[g, r],
        "Second way: copy query r of group g n_gr times. They share the key, and have the scores.",
    )
    _copy_head(chain, REPEATED, NARROW, sentence)
    chain.step("They share the values,", REPEATED.of("o")[g, r, b, t, c], NARROW.of("o")[g, r, t, c])
    _split(chain, REPEATED, b, size, whole=chain.planted == "query_undivided")
    chain.step(
        "and the layer writes what it wrote.",
        REPEATED.writes((b, size), (r, QUERIES), (g, GROUPS)),
        NARROW.writes((r, QUERIES), (g, GROUPS)),
    )


def _define_scores(chain: Chain, layer: Layer) -> None:
    chain.define("Look into the scores again.", layer.of("S")[(*layer.query, t, s)], layer.score())


def _unshare(chain: Chain) -> None:
    """The queries of a group in B parts of Q each; every part gets a key-value head of its own, in place."""
    key = (a,) if chain.planted == "key_of_other_group" else (g,)
    sentence = (
        "Third way: let the queries of a group come in B parts of Q, and repeat the key and value of the group for "
        "each part. A query meets the same key as before."
    )
    _copy_head(chain, UNSHARED, PARTED, sentence, key)
    divisor = PARTS if chain.planted == "unshared_divided" else Integer(1)
    chain.define("Keep its output columns:", UNSHARED.of("O")[i, g, a, r, c], PARTED.of("O")[i, g, a, r, c] / divisor)
    axes = ((r, QUERIES), (a, PARTS), (g, GROUPS))
    chain.step(
        "No head is counted twice, nothing is split, and the layer writes what it wrote.",
        UNSHARED.writes(*axes),
        PARTED.writes(*axes),
    )


def _places(chain: Chain) -> None:
    """Where stored layouts put the heads: the old and the new group of every query, in the same place."""
    group, part, query = (Offset.named(letter) for letter in ("g", "a", "r"))
    new = group.place * part.size + part.place
    place = new * query.size + query.place
    divisors = (part.size * query.size, group.place), (query.size, new)
    for (divisor, quotient), whose in zip(divisors, ("old group g_0", "new group g_0 B + a_0"), strict=True):
        sentence = (
            "Count from 0: query r_0 of part a_0 of group g_0 stands at (g_0 B + a_0) Q + r_0, before and after. "
            f"Division gives its {whose}:"
        )
        division(chain, sentence, place, divisor, quotient)

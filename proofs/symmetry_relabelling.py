"""Claim `symmetry.relabelling`: relabelling the neurons of every axis commutes with every optimiser's update.

An update is made of parts that commute with relabellings: an entrywise function of weight, memory and gradient; a
common scalar that sums over all neurons; products of the gradient with its transpose, hence U V^T; and independent
noise, in law. One step of any such optimiser takes relabelled networks to relabelled networks, so by induction the
trained weights of an exchangeable start are exchangeable.
"""

from sympy import Expr, IndexedBase, Integer, Symbol

from proofs.chain import Chain, argument
from proofs.notation import Activation, Dependence, Relabelling, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "symmetry.relabelling"
ASSUMPTIONS = (
    "one relabelling per growing axis, used by every tensor that touches it; fixed axes keep their order",
    "the update of a weight is a function, the same for all weights of a matrix, of its own weight, memory, gradient, "
    "entry of U V^T and noise, and of common scalars that no relabelling changes: GD, momentum, decay, Adam, RMSProp, "
    "sign, clipping, Muon, Langevin and mini-batches are of this kind",
    "noise is independent and identically distributed over the weights",
    "exchangeable law: for a finite probability space with equally likely outcomes, on which a relabelling of the "
    "start acts as a relabelling of the outcomes",
)
PLANTS = {
    "untied_axis": "the tensor that reads an axis keeps its order while the tensor that writes it is relabelled",
    "masses_left": "the masses of the layer below keep their order",
    "indexed_rule": "the step of a weight depends on the number of its row, as a rate per row would",
    "row_scalar": "the common scalar is the norm of the first row",
    "biased_law": "outcomes and their relabelled ones are not equally likely",
    "wrong_transpose": "the third power of the matrix misses a transpose",
}

i, j, k, x, u, v, w = indices("i j k x u v w")
ROWS, COLUMNS, ABOVE, DATA, OUTCOMES = width("n"), width("n^-"), width("n^+"), width("N"), width("Omega")
MASS, MASS_BELOW, MASS_ABOVE, Q = array("p"), array("p^-"), array("p^+"), array("q")
W, V, MEMORY, NOISE = array("W"), array("V"), array("S"), array("zeta")
PRE, SIGNAL, DELTA, HEARD, GRADIENT = array("h"), array("a"), array("delta"), array("epsilon"), array("g")
MATRIX, POWER, NEXT, STEPPED = array("G"), array("Y"), array("Y'"), array("W'")
NORM, NORM_STAR = Symbol("N_G"), Symbol("N_G*")


class Update(Dependence):
    """One step of an optimiser for one weight, as a function of what belongs to that weight and of common scalars."""

    letter, tex = "Psi", r"\Psi"


class Cumulant(Dependence):
    """The logarithm of the characteristic function of one entry of the noise."""

    letter, tex = "log chi", r"\log\chi"


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _relabel(chain)
    _signatures(chain)
    _scalars(chain)
    _powers(chain)
    _update(chain)
    _noise(chain)
    _law(chain)


derive = argue.derive


def here(slot: Expr) -> Expr:
    """Return the relabelled index on the axis of the layer."""
    return Relabelling(slot, ROWS)


def below(slot: Expr) -> Expr:
    """Return the relabelled index on the axis below."""
    return Relabelling(slot, COLUMNS)


def above(slot: Expr) -> Expr:
    """Return the relabelled index on the axis above."""
    return Relabelling(slot, ABOVE)


def starred(base: IndexedBase) -> IndexedBase:
    """Return the array of the relabelled network that belongs to an array of the network."""
    name = str(base)
    return array(f"{name}*" if "^" in name else f"{name}^*")


def _relabel(chain: Chain) -> None:
    order = j if chain.planted == "masses_left" else below(j)
    chain.define("Relabel the neurons of every axis: masses below,", starred(MASS_BELOW)[j], MASS_BELOW[order])
    chain.define("of the layer,", starred(MASS)[i], MASS[here(i)])
    chain.define("and above;", starred(MASS_ABOVE)[k], MASS_ABOVE[above(k)])
    induction = "relabelling at the start, then hypothesis of the induction over training steps"
    chain.define("the weights that the layer reads with,", starred(W)[i, j], W[here(i), below(j)], why=induction)
    column = i if chain.planted == "untied_axis" else here(i)
    chain.define("the weights that read the layer,", starred(V)[k, i], V[above(k), column], why=induction)
    chain.define(
        "and what the optimiser remembers of a weight.", starred(MEMORY)[i, j], MEMORY[here(i), below(j)], why=induction
    )


def _signatures(chain: Chain) -> None:
    layers = "hypothesis of the induction over layers; a fixed axis keeps its order"
    chain.define(
        "Upwards: suppose the signals below relabelled.", starred(SIGNAL)[j, x], SIGNAL[below(j), x], why=layers
    )
    for star in (False, True):
        mass, weight, signal, pre = (starred(a) if star else a for a in (MASS_BELOW, W, SIGNAL, PRE))
        chain.define(
            "A neuron of the relabelled network reads" if star else "A neuron reads",
            pre[i, x],
            total(mass[j] * weight[i, j] * signal[j, x], (j, COLUMNS)),
        )
    chain.step("The sum runs in another order, and that is all:", starred(PRE)[i, x], PRE[here(i), x])
    chain.define(
        "Downwards: suppose the sensitivities above relabelled.", starred(HEARD)[k, x], HEARD[above(k), x], why=layers
    )
    for star in (False, True):
        mass, weight, heard, pre, delta = (starred(a) if star else a for a in (MASS_ABOVE, V, HEARD, PRE, DELTA))
        chain.define(
            "one of the relabelled network hears" if star else "A neuron hears, with the slope of its activation,",
            delta[i, x],
            Activation(pre[i, x], 1) * total(mass[k] * weight[k, i] * heard[k, x], (k, ABOVE)),
        )
    chain.step("the same in another order.", starred(DELTA)[i, x], DELTA[here(i), x])
    for star in (False, True):
        delta, signal, gradient = (starred(a) if star else a for a in (DELTA, SIGNAL, GRADIENT))
        chain.define(
            "and of the relabelled network" if star else "So the gradient over the masses (gradient.factorizes)",
            gradient[i, j],
            total(Q[x] * delta[i, x] * signal[j, x], (x, DATA)),
        )
    chain.step("is relabelled on both axes.", starred(GRADIENT)[i, j], GRADIENT[here(i), below(j)])
    chain.define(
        "From here on let G be any matrix that is relabelled with the neurons: the gradient, or a memory of it.",
        starred(MATRIX)[i, j],
        MATRIX[here(i), below(j)],
        why="shown for the gradient, hypothesis of the induction for a memory",
    )


def _scalars(chain: Chain) -> None:
    rows = Integer(1) if chain.planted == "row_scalar" else ROWS
    for star, name in ((False, NORM), (True, NORM_STAR)):
        mass, low, matrix = (starred(a) if star else a for a in (MASS, MASS_BELOW, MATRIX))
        chain.define(
            "and that of the relabelled network" if star else "Its squared norm",
            name,
            total(mass[i] * low[j] * matrix[i, j] ** 2, (i, rows), (j, COLUMNS)),
        )
    chain.step("are equal: both axes are summed.", NORM_STAR, NORM)


def _powers(chain: Chain) -> None:
    """Odd powers and odd polynomials of a matrix, in the metric of the masses."""
    chain.define(
        "Suppose that an odd power of the matrix is relabelled with the neurons, as the first one is.",
        starred(POWER)[i, j],
        POWER[here(i), below(j)],
        why="hypothesis of the induction over powers",
    )
    for star in (False, True):
        mass, low, matrix, power, result = (starred(a) if star else a for a in (MASS, MASS_BELOW, MATRIX, POWER, NEXT))
        middle = matrix[v, u] if chain.planted != "wrong_transpose" else matrix[u, v]
        body = low[u] * mass[v] * matrix[i, u] * middle * power[v, j]
        chain.define(
            "and that of the relabelled matrix" if star else "The next odd power, G G^T times this one,",
            result[i, j],
            total(body, (u, COLUMNS), (v, ROWS)),
        )
    chain.step(
        "are related likewise: so is every odd polynomial of G with common coefficients, and U V^T is one "
        "(closure.muon).",
        starred(NEXT)[i, j],
        NEXT[here(i), below(j)],
    )
    chain.step(
        "The coefficients are functions of the singular values, hence of traces of powers, which are common scalars.",
        total(
            starred(MASS)[i] * starred(MASS_BELOW)[j] * starred(MATRIX)[i, j] * starred(NEXT)[i, j],
            (i, ROWS),
            (j, COLUMNS),
        ),
        total(MASS[i] * MASS_BELOW[j] * MATRIX[i, j] * NEXT[i, j], (i, ROWS), (j, COLUMNS)),
    )


def _update(chain: Chain) -> None:
    chain.define(
        "Noise is relabelled with the weights: the relabelled network gets relabelled noise.",
        starred(NOISE)[i, j],
        NOISE[here(i), below(j)],
        why="in law, shown below",
    )
    for star in (False, True):
        weight, memory, gradient, power, noise, stepped = (
            starred(a) if star else a for a in (W, MEMORY, GRADIENT, NEXT, NOISE, STEPPED)
        )
        own = (i,) if chain.planted == "indexed_rule" else ()
        scalar = NORM_STAR if star else NORM
        chain.define(
            "and in the relabelled network it makes" if star else "A weight, or its memory, makes a step by one rule,",
            stepped[i, j],
            Update(weight[i, j], memory[i, j], gradient[i, j], power[i, j], noise[i, j], scalar, *own),
        )
    chain.step(
        "the relabelled step. By induction over the steps, training commutes with relabelling, whatever the optimiser.",
        starred(STEPPED)[i, j],
        STEPPED[here(i), below(j)],
    )


def _noise(chain: Chain) -> None:
    test = array("theta")
    chain.define("Relabel a test array with the noise;", starred(test)[i, j], test[here(i), below(j)])
    chain.step(
        "the pairing of noise and test array does not change,",
        total(starred(test)[i, j] * starred(NOISE)[i, j], (i, ROWS), (j, COLUMNS)),
        total(test[i, j] * NOISE[i, j], (i, ROWS), (j, COLUMNS)),
    )
    chain.step(
        "nor does the logarithm of the characteristic function of independent, identically distributed entries, a sum "
        "over the entries: so the relabelled noise, at any test array, has the law of the noise.",
        total(Cumulant(starred(test)[i, j]), (i, ROWS), (j, COLUMNS)),
        total(Cumulant(test[i, j]), (i, ROWS), (j, COLUMNS)),
    )


def _law(chain: Chain) -> None:
    """Exchangeability of the trained weights, on equally likely outcomes."""
    statistic, relabelled, chance = array("F"), array("F^*"), array("P")
    weight = chance[w] if chain.planted == "biased_law" else 1 / OUTCOMES
    chain.define(
        "Let F be any statistic of the trained weights, as a function of the outcome. An exchangeable start relabels "
        "the outcomes; training commutes with it, so the statistic of the relabelled trained weights is",
        relabelled[w],
        statistic[Relabelling(w, OUTCOMES)],
        why="training commutes with relabelling",
    )
    chain.step(
        "Its mean over the outcomes is that of F: the trained weights are exchangeable.",
        total(weight * relabelled[w], (w, OUTCOMES)),
        total(weight * statistic[w], (w, OUTCOMES)),
    )

"""Claim `closure.sgd`: mini-batch descent is closed in the signatures, given the sequence of batches.

A batch replaces the weights of the data by those of the batch, common to all weights of the network. Batch noise is
therefore row-column noise: it moves mean kernels, and leaves the residual frozen.
"""

from sympy import Expr, Integer, Sum

from proofs.chain import Chain, argument
from proofs.moments import Draws
from proofs.notation import Expectation, array, index, total, width
from proofs.optimisers import (
    COMMON_ASSUMPTIONS,
    DATA,
    DELTA,
    ETA,
    NOISE_PLANT,
    SIGNAL,
    STEPS,
    W,
    define_path,
    e,
    history,
    i,
    j,
    residual,
    s,
    t,
    twins,
    x,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.sgd"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "one sequence of batches for all weights, given; batches of m data",
    "unbiasedness: the batch is drawn without replacement, independently of the weights at its step",
)
PLANTS = NOISE_PLANT | {
    "own_batches": "every row of the matrix draws batches of its own",
    "summed_batch": "the batch is summed instead of averaged",
    "lost_step": "the path forgets the last step",
}

b = index("b")
BATCH, SIZE, MEMBER = array("g^B"), width("m"), array("B")
DRAW = array("J")
LAW = Draws(DRAW, DATA, replacement=False)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS, (LAW,))
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _unbiased(chain)
    chain.define(
        "Given the batches, the gradient over the masses is the mean outer product over the batch of the step.",
        BATCH[t, i, j],
        total(DELTA[t, i, _datum(chain, t)] * SIGNAL[t, j, _datum(chain, t)], (b, SIZE)) / SIZE,
        why="claim gradient.factorizes, with the batch for the data",
    )
    _solve(chain)
    twins(
        chain,
        sentence="Two pairs of neurons with equal signatures keep the difference of their weights, whatever the "
        "batches: all weights see the same ones.",
    )
    residual(chain, sentence="The residual is frozen: batch noise moves the mean kernel alone.")
    _rank(chain)


derive = argue.derive


def _datum(chain: Chain, time: Expr) -> Expr:
    """Return member b of the batch of a step."""
    return array("B'")[time, i, b] if chain.planted == "own_batches" else MEMBER[time, b]


def _unbiased(chain: Chain) -> None:
    """One step: the batch gradient has the mean of the full one."""
    scale = Integer(1) if chain.planted == "summed_batch" else SIZE
    chain.step(
        "A batch drawn without replacement has, on average, the gradient of all data.",
        Expectation(total(DELTA[t, i, DRAW[b]] * SIGNAL[t, j, DRAW[b]], (b, SIZE)) / scale),
        total(DELTA[t, i, x] * SIGNAL[t, j, x], (x, DATA)) / DATA,
    )


def _solve(chain: Chain) -> None:
    steps = t - 1 if chain.planted == "lost_step" else t
    define_path(
        chain,
        ETA * history(Integer(1), BATCH[s, i, j], steps),
        "A weight is its start less the mean outer products of the batches so far.",
    )
    chain.step(
        "Every step subtracts the gradient of its batch: this is the path of every weight, at every finite width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * BATCH[STEPS, i, j],
    )


def _rank(chain: Chain) -> None:
    left, right = array("A"), array("C")
    datum = MEMBER[s, b]
    chain.define(
        "Collect the sensitivities to the batches in one matrix,", left[i, s, b], -ETA * DELTA[s, i, datum] / SIZE
    )
    chain.define("and the signals in another.", right[s, b, j], SIGNAL[s, j, datum])
    chain.step(
        "Linear in the factorised gradient, given the batches: the increment has rank at most batch x steps.",
        W[STEPS, i, j, e] - W[0, i, j, e],
        Sum(left[i, s, b] * right[s, b, j], (b, 1, SIZE), (s, 0, STEPS - 1)),
    )

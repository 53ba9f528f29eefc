"""The infinite-width limit of an observable, with an estimate of its error: nodes are doubled until it stands still."""

from dataclasses import dataclass

from torch import Tensor

from rctheory.dynamics.ansatz import Ansatz, Rule, gauss_nodes
from rctheory.dynamics.influence import Observable
from rctheory.errors import NumericsError, UsageError
from rctheory.numerics import require_finite


@dataclass(frozen=True)
class Solution:
    """The limit of an observable.

    Args:
        value: the observable on the finest nodes.
        error: largest change of an entry at the last doubling. It estimates the error of the *coarser* value; the
            returned one is closer wherever the rule converges.
        nodes: the finest nodes, as the rule counts them.
    """

    value: Tensor
    error: float
    nodes: int


def solve(
    ansatz: Ansatz,
    observable: Observable,
    *,
    tolerance: float,
    nodes: int = 8,
    most: int = 4096,
    rule: Rule = gauss_nodes,
    root: int = 0,
) -> Solution:
    """Return an observable of the infinite-width limit to a tolerance: double the nodes until it moves by less.

    Args:
        ansatz: what is sent to infinite width.
        observable: trains the network on nodes (`train` for descent, `flow` for the flow) and returns what is observed.
        tolerance: accepted change at a doubling, absolute.
        nodes: the coarsest nodes: per latent dimension for Gauss rules, all of them for Sobol points (a power of two).
        most: largest number of neurons in a hidden layer that may be tried.
        rule: how laws are discretised: `gauss_nodes` up to latents of dimension 2 or 3, `sobol_nodes` beyond.
        root: root seed of a random rule.

    Raises:
        UsageError: a tolerance that is not positive.
        LawError: nodes that the rule cannot give.
        NumericsError: the tolerance is not reached with `most` nodes, or the observable is not finite.
    """
    if not 0 < tolerance < float("inf"):
        raise UsageError(f"tolerance {tolerance}", "a positive number", "ask for a tolerance that can be reached")
    before = _observe(ansatz, observable, nodes, rule, root)
    error = float("inf")
    finer = 2 * nodes
    while max(axis.masses.numel() for axis in ansatz.limit_axes(finer, rule=rule, root=root)) <= most:
        value = _observe(ansatz, observable, finer, rule, root)
        error = float((value - before).abs().max())
        if error <= tolerance:
            return Solution(value, error, finer)
        before, finer = value, 2 * finer
    found = f"the limit still moves by {error:.3g} at {finer // 2} nodes, the most that {most} neurons a layer allow"
    raise NumericsError(found, f"at most {tolerance:g}", "raise `most`, the tolerance, or take another rule")


def _observe(ansatz: Ansatz, observable: Observable, nodes: int, rule: Rule, root: int) -> Tensor:
    value = observable(ansatz.limit(nodes, rule=rule, root=root)).detach()
    return require_finite(f"the observable on {nodes} nodes", value)

"""Steps of the transformer proofs in float64: sums as loops, derivatives by autograd, expectations by enumeration."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import IndexedBase, Symbol

from proofs.chain import Checked
from tests.proofs.evaluator import World, relative_gap
from tests.proofs.oracle import argument, falsified, require
from tests.proofs.outcomes import Outcomes, draw_outcomes

CLAIMS = (
    "widening.rmsnorm",
    "widening.zero-padding",
    "widening.layernorm",
    "widening.gqa",
    "widening.swiglu",
    "widening.tied-head",
    "widening.optimizer-state",
    "narrowing.rotation",
    "layout.neox",
    "layout.gpt2",
    "layout.gguf-rope",
    "init.iid-collapse",
    "scaling.ntk",
)
WIDTHS = ("D", "F", "G", "Q", "h", "B", "H", "d", "r", "e", "K", "N", "n", "n^-", "axis", "m", "k")
COUNTS = {
    "widening.rmsnorm": {"m"},
    "widening.layernorm": {"m"},
    "widening.gqa": {"m", "n"},
    "widening.swiglu": {"m"},
    "widening.tied-head": {"m"},
    "widening.optimizer-state": {"C"},
}


def world_of(claim: str, checked: Checked, seed: int, size: int) -> World:
    """Return a world whose widths are `size` (2 or 3) and whose free indices lie inside every axis."""
    slots = dict.fromkeys("ijcuvpgrtsabefhxk", 1) | {"j": 2, "s": 2, "t": 2, "tau": 1, "k": 2}
    slots |= {f"{letter}{mark}": value for letter in "hpcagrnbj" for mark, value in (("_0", 1), ("'", 2))} | {"e'": 1}
    sizes = dict.fromkeys(WIDTHS, size) | {"D'": 2 * size * size, "S": 7, "F'": 9, "g": 3}
    world = World(seed, sizes, slots, counts=frozenset(COUNTS.get(claim, ())))
    if claim == "widening.layernorm":
        world.sizes["D"] = 3  # what is claimed of unequal multiplicities needs three coordinates
    if claim == "init.iid-collapse":
        world.sizes |= {"n_1": 2, "n_2": 2, "n_3": 2, "n": 2}
        slots["j"] = 1  # j and k are two neurons of one axis, and so are i and k
        world.outcomes = collapse_outcomes(world.scalar(Symbol("s", positive=True)).item(), seed)
    if claim == "scaling.ntk":
        world.sizes |= {"n": 3, "m": 1 if checked.relation.has(Symbol("g", integer=True, positive=True)) else 2}
        slots["j"] = 1
        world.outcomes = kept_outcomes(world.scalar(Symbol("s", positive=True)).item(), world.sizes["m"], seed)
    return world


def joined(spaces: list[tuple[dict[str, torch.Tensor], torch.Tensor]]) -> Outcomes:
    """Return independent probability spaces as one."""
    grid = torch.cartesian_prod(*(torch.arange(len(chances)) for _, chances in spaces))
    arrays, probability = {}, torch.ones(len(grid), dtype=torch.float64)
    for place, (values, chances) in enumerate(spaces):
        probability = probability * chances[grid[:, place]]
        arrays |= {IndexedBase(name, real=True): value[grid[:, place]] for name, value in values.items()}
    return Outcomes(arrays, probability)


def signs(name: str, deviation: float, *shape: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return every outcome of independent entries +-deviation."""
    cells = itertools.product((-deviation, deviation), repeat=torch.Size(shape).numel())
    values = torch.tensor(list(cells), dtype=torch.float64).reshape(-1, *shape)
    return {name: values}, torch.full((len(values),), 1 / len(values), dtype=torch.float64)


def latents(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return every outcome of `count` neurons with two latent values, and the probability of each."""
    found = torch.tensor(list(itertools.product((0, 1), repeat=count)))
    return found, torch.tensor([0.3, 0.7], dtype=torch.float64)[found].prod(1)


def collapse_outcomes(deviation: float, seed: int) -> Outcomes:
    """Two neurons on each of three axes: signals below, a kernel, sensitivities above, and two residuals."""
    tables = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(seed % 2**31), dtype=torch.float64)
    found, chances = latents(6)
    below, layer, above = found[:, :2], found[:, 2:4], found[:, 4:]
    values = {"a": tables[0, 0][below], "m": tables[1][layer[:, :, None], below[:, None, :]], "e": tables[2, 0][above]}
    return joined([(values, chances), signs("xi", deviation, 2, 2), signs("zeta", deviation, 2, 2)])


def kept_outcomes(deviation: float, kept: int, seed: int) -> Outcomes:
    """Three neurons with a signal and a residual, and every draw of some of them."""
    table = torch.rand(2, generator=torch.Generator().manual_seed(seed % 2**31), dtype=torch.float64)
    found, chances = latents(3)
    draws = draw_outcomes({"J": False}, 3, kept)
    draw = ({"J": draws.arrays[IndexedBase("J", real=True)]}, draws.probability)
    return joined([({"a": table[found]}, chances), signs("xi", deviation, 3), draw])


@pytest.mark.parametrize("claim", CLAIMS)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from((2, 3)))
@settings(max_examples=4)
def test_every_step_holds_in_float64_at_random_points(claim: str, seed: int, size: int) -> None:
    for checked in argument(claim).checked:
        require(claim, checked, *relative_gap(checked, world_of(claim, checked, seed, size)))


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_oracle_sees_a_wrong_relation(claim: str) -> None:
    """A wrong right-hand side is refuted at every step: the oracle is not vacuous."""
    for checked in falsified(argument(claim)):
        gap, scale = relative_gap(checked, world_of(claim, checked, 1, 2))
        assert abs(gap) > 1e-3 * scale, f"step {checked.number} of {claim}"

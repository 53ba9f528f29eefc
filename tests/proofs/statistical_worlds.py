"""A world of numbers for every statistical proof: its widths, its constants, and every outcome of its random arrays."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from sympy import IndexedBase, Symbol
from torch import Tensor

from tests.proofs.evaluator import LARGEST, World
from tests.proofs.spaces import Space, TwoValued, with_draws

UNIT = TwoValued(1.0, 0.4)
WIDTHS = ("n", "m", "N", "n_1", "n_2", "n_3", "n^-", "n^+", "R", "n'", "m'", "n''", "m''", "a", "alpha", "beta")
SLOTS = {
    "i": 1,
    "k": 2,
    "j": 1,
    "l": 2,
    "r": 1,
    "s": 2,
    "i'": 3,
    "j'": 3,
    "k'": 4,
    "l'": 4,
    "p'": 2,
    "t": 1,
    "b": 1,
    "c": 1,
    "e": 1,
    "x": 2,
}
SLOTS |= {f"r_{place}": place for place in range(1, 5)} | {f"s_{place}": place for place in range(1, 5)}


def table(random: np.random.Generator, *latents: Tensor) -> Tensor:
    """Return an array of functions of latents (outcomes, size), one axis for each: a random cubic."""
    grids = [
        z.reshape(len(z), *(1,) * place, -1, *(1,) * (len(latents) - 1 - place)) for place, z in enumerate(latents)
    ]
    value = torch.as_tensor(random.uniform(-1, 1), dtype=torch.float64)
    for grid in grids:
        value = value + random.uniform(-1, 1) * grid + value * random.uniform(-1, 1) * grid
    return value.expand(-1, *(z.shape[1] for z in latents)).contiguous()


def base(seed: int, size: int, **sizes: int) -> World:
    """Return a world with the widths `size`, some of them others."""
    widths = dict.fromkeys(WIDTHS, size) | {"alpha": 1, "beta": 1, "p": 2, "g": 1, "q": 1, "h": 2} | sizes
    return World(seed, widths, dict(SLOTS), counts=frozenset({"C", "C^-", "C^+"}))


def fix(world: World, value: float, name: str, **assumptions: bool) -> None:
    """Give a constant the value that the law of the world has."""
    world.scalars[Symbol(name, **assumptions)] = torch.tensor(value, dtype=torch.float64, requires_grad=True)


def number(world: World, name: str, **assumptions: bool) -> float:
    """Return the value of a constant."""
    return world.scalar(Symbol(name, **assumptions)).item()


def grand_mean(seed: int, size: int) -> World:
    world = base(seed, size, m=2)
    chance = {"r": 0.3, "c": 0.45}
    laws = {name: TwoValued(number(world, f"t_{name}", positive=True), p) for name, p in chance.items()}
    for name, law in laws.items():
        fix(world, law.moment(4) / law.variance**2, f"k_{name}", positive=True)
    space = Space.product({"r": ((2,), laws["r"]), "c": ((size,), laws["c"]), "e": ((2, size), UNIT)})
    r, c, e = (space.variables[name] for name in "rce")
    entries = table(world.random, r, c) * (1 + 0.3 * e)
    world.outcomes = space.outcomes({"W": entries, "r": r, "c": c})
    return world


def variance_components(seed: int, size: int) -> World:
    world = base(seed, size, m=2)
    space = Space.product({"r": ((4,), UNIT), "c": ((4,), UNIT)})
    world.outcomes = space.outcomes({"W": table(world.random, space.variables["r"], space.variables["c"])})
    return world


def four_cycle(seed: int, size: int) -> World:
    world = base(seed, size, m=2, R=1)
    variance, rank = number(world, "s", positive=True) ** 2, 1
    noise = ((3, 3), TwoValued(variance, 0.3))  # a third row and column for the indices i' and j'
    space = Space.product({"xi": noise, "u": ((rank, 2), UNIT), "v": ((rank, size), UNIT)})
    u, v = space.variables["u"], space.variables["v"]
    effects = {
        "r": number(world, "s_r", positive=True) * u[:, 0],
        "c": number(world, "s_c", positive=True) * v[:, 0],
        "W": table(world.random, u[:, 0], v[:, 0]),
    }
    world.outcomes = space.outcomes({"xi": space.variables["xi"], "u": u, "v": v} | effects)
    return world


def helmert(seed: int, size: int) -> World:
    world = base(seed, size, m=3)
    law = TwoValued(number(world, "s", positive=True) ** 2, 0.3)
    fix(world, law.moment(4) - 3 * law.variance**2, "k_4", real=True)
    space = Space.product({"xi": ((3, size), law)})
    world.outcomes = space.outcomes(space.variables)
    return world


def sign_flips(seed: int, size: int) -> World:
    world = base(seed, size, m=2)
    law = TwoValued(number(world, "s", positive=True) ** 2, 0.3)
    fix(world, law.moment(3), "mu_3", real=True)
    fix(world, law.moment(4), "mu_4", positive=True)
    # A third row and column of signs for the indices i' and j'; two double differences side by side for the noise.
    space = Space.product({"epsilon": ((3, 3), TwoValued(1.0, 0.5)), "xi": ((2, 4), law)})
    world.outcomes = space.outcomes(space.variables)
    return world


def quadruplets(seed: int, size: int) -> World:
    world = base(seed, size, m=2)
    space = Space.product({"z": ((4,), UNIT), "y": ((4,), UNIT)})
    z, y = space.variables["z"], space.variables["y"]
    world.outcomes = space.outcomes({"h": table(world.random, z, z, y, y)})
    return world


def samples(population: int, size: int, *, replacement: bool) -> list[tuple[int, ...]]:
    """Return all ordered samples."""
    units = range(1, population + 1)
    return list(itertools.product(units, repeat=size) if replacement else itertools.permutations(units, size))


def projectivity(seed: int, size: int) -> World:
    world = base(seed, 4, m=2, a=size - 1)
    world.sizes["m'"] = 2
    space = Space.product({"z": ((4,), UNIT), "y": ((4,), UNIT)})
    z, y = space.variables["z"], space.variables["y"]
    beyond = torch.cat(
        [table(world.random, z[:, 1:]), table(world.random, z[:, :1])], dim=1
    )  # unit 0 is the last entry
    arrays = {"W": table(world.random, z, y), "V": table(world.random, torch.ones_like(z), z), "G": beyond}
    arrays["H"] = table(world.random, z)
    draws = {"I": samples(4, 4, replacement=False), "J": samples(4, 4, replacement=False)}
    world.outcomes = with_draws(space, arrays, draws)
    pairs = samples(4, 2, replacement=True)  # never beside I or J: the 576 pairs of these draws stand for 16, evenly
    count = len(draws["I"]) * len(draws["J"])
    spread = torch.tensor([pairs[place % len(pairs)] for place in range(count)])
    world.outcomes.arrays[IndexedBase("I'", real=True)] = spread.repeat(len(space.probability), 1)
    return world


def two_axes(seed: int, size: int) -> World:
    world = base(seed, size, m=2, **{"m'": 2, "n'": 3, "n''": 2, "m''": 1})
    world.outcomes = with_draws(
        Space({}, torch.ones(1, dtype=torch.float64)),
        {},
        {
            "J": samples(size, 2, replacement=False),
            "J'": samples(3, 2, replacement=False),
            "J''": samples(2, 1, replacement=False),
            "I": samples(size, 2, replacement=True),
            "I'": samples(3, 2, replacement=True),
        },
    )
    return world


def plain(seed: int, size: int) -> World:
    return base(seed, size)


def optimisers(seed: int, size: int) -> World:
    world = base(seed, size)
    moments = torch.from_numpy(world.random.uniform(0.4, 1.6, (LARGEST,) * 3))
    world.arrays[IndexedBase("S", real=True)] = moments.requires_grad_()  # second moments are no negative numbers
    return world


def conditional(values: Tensor, given: Tensor, latents: Tensor, space: Space) -> Tensor:
    """Return the mean of `values` given a two-valued latent, both of shape (outcomes,), as a function of `latents`."""
    found = torch.empty_like(latents)
    for value in latents.unique():
        chosen = given == value
        found[latents == value] = (space.probability * values)[chosen].sum() / space.probability[chosen].sum()
    return found


def fluctuations(seed: int, size: int) -> World:
    """Arrays of one and two layers, with their conditional means, for constant, bias and control variate."""
    world = base(seed, size, n_1=2, n_2=2, n_3=2)
    variance = number(world, "s", positive=True) ** 2
    space = Space.product(
        {"z": ((3,), UNIT), "y": ((2,), UNIT), "x": ((2,), UNIT), "xi": ((2, 2), TwoValued(variance, 0.5))}
    )
    z, y, x = (space.variables[name] for name in "zyx")
    arrays = {name: table(world.random, z, z) for name in ("G", "D")}
    arrays |= {name: table(world.random, y, z) for name in ("K", "E", "m", "b")}
    arrays |= {"a": table(world.random, z), "c": table(world.random, y), "xi": space.variables["xi"]}
    arrays |= {name: table(world.random, latent) for name, latent in (("phi", z), ("psi", y), ("chi", x))}

    def given(name: str, slot: int, place: tuple[int, int]) -> Tensor:
        latents = z if slot == 1 or name in "GD" else y
        return conditional(arrays[name][:, *place], latents[:, place[slot]], latents, space)

    arrays |= {"B": given("G", 0, (0, 1)), "C": given("G", 1, (0, 1)), "D^1": given("D", 0, (0, 1))}
    arrays |= {"D^2": given("D", 1, (0, 1)), "K^1": given("K", 1, (0, 0)), "K^2": given("K", 0, (0, 0))}
    arrays |= {
        "E^1": given("E", 1, (0, 0)),
        "E^2": given("E", 0, (0, 0)),
        "A": given("G", 0, (0, 1)) + given("G", 1, (0, 1)),
    }
    world.outcomes = space.outcomes(arrays)
    return world


def design(seed: int, size: int) -> World:
    """Uniform variables by Gauss-Legendre nodes: three are exact for the moments that occur."""
    world = base(seed, 2)
    nodes, weights = np.polynomial.legendre.leggauss(3)
    choices = torch.tensor(list(itertools.product(range(3), repeat=4)))
    points = torch.from_numpy(nodes / 2)[choices]
    chances = torch.from_numpy(weights / 2)[choices].prod(dim=1)
    deviation = number(world, "s", positive=True)
    values = torch.tensor([[0.3, 1.1], [0.7, 0.4]], dtype=torch.float64)[size - 2]
    fix(world, float(values.mean()), "nu_1", real=True)
    fix(world, float(values.square().mean()), "nu_2", positive=True)
    signs = Space.product({"xi": ((2, 2), TwoValued(deviation**2, 0.5)), "phi": ((2,), TwoValued(1.0, 0.5))})
    high = signs.variables["phi"] > 0
    arrays = {"xi": signs.variables["xi"], "phi": torch.where(high, values[0], values[1])}
    arrays["U"] = signs.variables["phi"]
    rows = torch.cartesian_prod(torch.arange(len(points)), torch.arange(len(signs.probability)))
    found = {name: value[rows[:, 1]] for name, value in arrays.items()}
    found |= {"V": points[rows[:, 0], :2], "V'": points[rows[:, 0], 2:]}
    world.outcomes = Space({}, chances[rows[:, 0]] * signs.probability[rows[:, 1]]).outcomes(found)
    return world


def reference(seed: int, size: int) -> World:
    world = base(seed, size, n=2, N=size + 1)
    space = Space.product({"z": ((size + 3,), UNIT)})
    arrays = {"phi": table(world.random, space.variables["z"])}
    world.outcomes = with_draws(space, arrays, {"J": samples(size + 1, 2, replacement=False)})
    return world


WORLDS: dict[str, Callable[[int, int], World]] = {
    "array.grand-mean": grand_mean,
    "array.variance-components": variance_components,
    "array.four-cycle": four_cycle,
    "array.helmert": helmert,
    "array.sign-flips": sign_flips,
    "array.quadruplets": quadruplets,
    "sampling.projectivity": projectivity,
    "sampling.two-axes": two_axes,
    "sampling.design": design,
    "fluctuation.influence": plain,
    "fluctuation.control-variate": fluctuations,
    "width.constant": fluctuations,
    "width.bias": fluctuations,
    "time.euler": plain,
    "time.rk4": plain,
    "reference.finite": reference,
    "transfer.duplication-optimizers": optimisers,
}

"""Claim `sampling.projectivity`: the law of a sampled array, outcome by outcome."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.sampling_projectivity import patterns

Law = Counter[tuple[float, ...]]


def entry(z: int, y: int, noise: int, scale: float) -> float:
    """Return a function of both latents and the noise of the entry that tells them apart."""
    return round(scale * z + 3.1 * y + 0.17 * noise * (1 + z - 0.3 * y), 12)


def law_of_array(size: int, scale: float) -> Law:
    """Return the law of a size x 2 array with two-valued latents and noise."""
    law: Law = Counter()
    for z in itertools.product((0, 1), repeat=size):
        for y in itertools.product((0, 1), repeat=2):
            for noise in itertools.product((0, 1), repeat=2 * size):
                cells = (entry(z[i], y[j], noise[2 * i + j], scale) for i in range(size) for j in range(2))
                law[tuple(cells)] += 0.3 ** sum(z) * 0.7 ** (size - sum(z)) * 0.25 * 0.5 ** (2 * size)
    return law


def sampled(law: Law, size: int, *, replacement: bool) -> Law:
    """Return the law of two drawn rows."""
    draws = list(itertools.product(range(size), repeat=2) if replacement else itertools.permutations(range(size), 2))
    found: Law = Counter()
    for array, chance in law.items():
        for rows in draws:
            found[tuple(array[2 * row + column] for row in rows for column in range(2))] += chance / len(draws)
    return found


@given(scale=st.floats(0.5, 2.0))
@settings(max_examples=4)
def test_law_of_a_sampled_array_by_enumeration(scale: float) -> None:
    """Rows without replacement: the law of the small array; with: collisions have their probability."""
    small, large = law_of_array(2, scale), law_of_array(3, scale)
    assert sampled(large, 3, replacement=False) == pytest.approx(small, abs=1e-12)
    equal = sum(chance for array, chance in sampled(large, 3, replacement=True).items() if array[:2] == array[2:])
    chance = sum(chance for array, chance in small.items() if array[:2] == array[2:])
    assert equal == pytest.approx(1 / 3 + 2 / 3 * chance, abs=1e-12)


def test_the_moments_are_all_patterns_up_to_order_four() -> None:
    """Multigraphs without isolated vertices on rows and columns: 1, 4, 10 and 33 with 1 to 4 edges (OEIS A007716)."""
    assert [len(list(patterns(order))) for order in (1, 2, 3, 4)] == [1, 4, 10, 33]

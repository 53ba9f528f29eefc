"""Duplication: exact in function and trajectory over random widths, multiplicities and depths."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import train
from rctheory.measures import DESIGNS
from tests.helpers import SEEDS, networks, stream
from verification.random_networks import random_data, random_network
from verification.transfers import duplicate, resample


@given(networks(), st.integers(1, 4), SEEDS)
def test_duplication_is_exact_over_the_whole_trajectory(widths: list[int], most: int, seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator)
    x, y = random_data(widths[0], widths[-1], 3, generator)
    plan = {}
    for k, n in enumerate(widths[1:-1], 1):
        counts = torch.randint(1, most + 1, (n,), generator=generator)
        indices = torch.arange(n).repeat_interleave(counts)
        plan[f"hidden.{k}"] = indices[torch.randperm(len(indices), generator=generator)]
    grown = duplicate(network, plan)
    for steps in (0, 1, 6):
        source, copy = (train(net, x, y, step=0.2, steps=steps) for net in (network, grown))
        torch.testing.assert_close(copy.outputs(x), source.outputs(x), rtol=1e-10, atol=1e-12)
    expected = duplicate(source, plan)
    for a, b in zip(copy.weights, expected.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@given(networks(), st.integers(1, 5), SEEDS)
def test_balanced_growth_by_an_integer_is_exact(widths: list[int], factor: int, seed: int) -> None:
    generator = stream(seed)
    widths = [widths[0], *[4] * (len(widths) - 2), widths[-1]]
    network = random_network(widths, generator, uniform=True)
    x, _ = random_data(widths[0], widths[-1], 3, generator)
    grown = resample(network, 4 * factor, DESIGNS["balanced"], seed)
    torch.testing.assert_close(grown.outputs(x), network.outputs(x), rtol=1e-10, atol=1e-12)


def test_untied_copies_are_not_exact() -> None:
    network = random_network([2, 5, 5, 1], stream(0))
    x, _ = random_data(2, 1, 3, stream(1))
    plan = {name: torch.arange(5).repeat_interleave(torch.tensor([1, 2, 1, 3, 1])) for name in ("hidden.1", "hidden.2")}
    wrong = duplicate(network, plan, rows_only={"hidden.1": plan["hidden.1"].flip(0)})
    assert float((wrong.outputs(x) - network.outputs(x)).abs().max()) > 1e-3

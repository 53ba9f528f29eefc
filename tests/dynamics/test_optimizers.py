"""Optimizers: relabelling, width-free norms, composition, refusals; the closed forms have their own experiments."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import train
from rctheory.dynamics.optimizers import Adam, Clip, Decay, Langevin, Momentum, Muon, RMSProp, Sign, global_norm
from rctheory.errors import UsageError
from tests.helpers import SEEDS, networks, stream
from verification.random_networks import random_data, random_network
from verification.transfers import duplicate

CHAINS = {
    "momentum": (Momentum(0.8),),
    "adam": (Adam(0.7, 0.9, 1e-3),),
    "adamw": (Adam(0.7, 0.9, 1e-3), Decay(0.1)),
    "l2 momentum": (Decay(0.1), Momentum(0.5)),
    "rmsprop": (RMSProp(0.9, 1e-3),),
    "clip": (Clip(0.05), Momentum(0.5)),
}
"""Chains that are continuous functions of the history: rounding stays rounding."""


@given(networks(max_width=6), st.sampled_from(sorted(CHAINS)), SEEDS)
def test_relabelling_commutes_with_every_optimizer(widths: list[int], name: str, seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator)
    x, y = random_data(widths[0], widths[-1], 4, generator)
    inner = [torch.randperm(n, generator=generator) for n in widths[1:-1]]
    orders = [torch.arange(widths[0]), *inner, torch.arange(widths[-1])]

    def relabel(net):
        weights = tuple(w[orders[i + 1]][:, orders[i]] for i, w in enumerate(net.weights))
        return replace(net, weights=weights, masses=tuple(p[o] for p, o in zip(net.masses, orders, strict=True)))

    first = relabel(train(network, x, y, step=0.05, steps=4, updates=CHAINS[name]))
    then = train(relabel(network), x, y, step=0.05, steps=4, updates=CHAINS[name])
    for a, b in zip(first.weights, then.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@given(networks(max_width=4), st.sampled_from(sorted(CHAINS)), SEEDS)
def test_duplication_is_exact_under_every_optimizer(widths: list[int], name: str, seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator)
    x, y = random_data(widths[0], widths[-1], 3, generator)
    plan = {f"hidden.{k}": torch.arange(n).repeat(2) for k, n in enumerate(widths[1:-1], 1)}
    source, copy = (
        train(net, x, y, step=0.05, steps=5, updates=CHAINS[name]) for net in (network, duplicate(network, plan))
    )
    torch.testing.assert_close(copy.outputs(x), source.outputs(x), rtol=1e-8, atol=1e-10)


def test_duplication_is_exact_under_muon_and_sign() -> None:
    """One generic network: a sign or a rank may flip under rounding where an entry or a singular value vanishes."""
    network = random_network([3, 6, 5, 2], stream(0))
    x, y = random_data(3, 2, 4, stream(1))
    # Unequal multiplicities: an update that forgets the masses would still be exact under equal ones.
    grown = duplicate(
        network, {f"hidden.{k}": torch.arange(n).repeat_interleave(torch.arange(1, n + 1)) for k, n in ((1, 6), (2, 5))}
    )
    for chain in ((Muon(),), (Sign(),), (Momentum(0.9), Muon())):
        source, copy = (train(net, x, y, step=0.05, steps=4, updates=chain) for net in (network, grown))
        torch.testing.assert_close(copy.outputs(x), source.outputs(x), rtol=1e-7, atol=1e-9)


@given(networks(max_width=5), SEEDS)
def test_muon_is_an_isometry_in_the_weighted_norm(widths: list[int], seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator)
    directions = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in network.weights]
    moment = type("Seen", (), {"network": network})()
    for layer, u in enumerate(Muon().start()(moment, directions)):
        weighted = network.masses[layer + 1].sqrt()[:, None] * u * network.masses[layer].sqrt()
        values = torch.linalg.svdvals(weighted)
        torch.testing.assert_close(values, torch.ones_like(values), rtol=1e-9, atol=0)


def test_global_norm_is_free_of_the_width() -> None:
    network = random_network([2, 4, 3, 1], stream(0))
    directions = list(network.weights)
    grown = duplicate(network, {"hidden.1": torch.arange(4).repeat(5), "hidden.2": torch.arange(3).repeat(2)})
    small, large = global_norm(network, directions), global_norm(grown, list(grown.weights))
    torch.testing.assert_close(large, small, rtol=1e-12, atol=0)


def test_langevin_noise_has_its_variance_and_no_temperature_is_no_noise() -> None:
    network = random_network([2, 150, 120, 1], stream(0))
    x, y = random_data(2, 1, 3, stream(1))
    plain, noisy, cold = (
        train(network, x, y, step=0.01, steps=1, updates=u) for u in ((), (Langevin(0.3),), (Langevin(0.0),))
    )
    for a, b in zip(plain.weights, cold.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
    noise = noisy.weights[1] - plain.weights[1]
    # 18,000 entries: the sample variance is known to 1.1%; five of these.
    assert float(noise.var()) == pytest.approx(2 * 0.3 * 0.01, rel=0.055)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Momentum(1.0),
        lambda: Adam(beta2=1.5),
        lambda: Adam(eps=-1.0),
        lambda: RMSProp(float("nan")),
        lambda: Decay(-0.1),
        lambda: Clip(0.0),
        lambda: Clip(float("nan")),
        lambda: Langevin(-1.0),
    ],
)
def test_senseless_constants_are_refused(make: object) -> None:
    with pytest.raises(UsageError, match="change it"):
        make()

"""Claim `widening.optimizer-state` with torch's optimisers on a layer whose neurons are copied."""

from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import Decoder, gap, generator, rmsnorm, seeds, tokens_of
from tests.proofs.test_widening_rmsnorm import balanced

RATE, DECAY, EPS = 0.05, 0.3, 0.01  # epsilon large, so that a wrong one is seen
multiplicities = st.lists(st.integers(1, 4), min_size=2, max_size=4)


@dataclass
class Layer:
    """f(x) = sum_i p_i V_i tanh(W_i x), each row W_i and column V_i a parameter of its own."""

    rows: list[Tensor]
    columns: list[Tensor]
    masses: Tensor

    def __post_init__(self) -> None:
        self.parameters = [entry.clone().requires_grad_() for entry in (*self.rows, *self.columns)]

    def __call__(self, x: Tensor) -> Tensor:
        rows, columns = (torch.stack(part) for part in self.halves())
        return (torch.tanh(x @ rows.T) * self.masses) @ columns

    def halves(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return rows and columns as they are now."""
        return self.parameters[: len(self.masses)], self.parameters[len(self.masses) :]

    def train(self, optimizer: torch.optim.Optimizer, steps: int, *, mean_field: bool = False) -> None:
        """Take steps of full-batch descent on a cross-entropy loss."""
        x, words = DATA
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self(x), words).backward()
            if mean_field:
                for parameter, mass in zip(self.parameters, [*self.masses, *self.masses], strict=True):
                    parameter.grad /= mass
            optimizer.step()


DATA = generator(1)(6, 3), torch.tensor([0, 1, 2, 3, 0, 1])


def narrow_layer(count: int, seed: int, mass: float = 1.0) -> Layer:
    draw = generator(seed)
    return Layer(list(draw(count, 3)), list(draw(count, 4)), torch.full((count,), mass, dtype=torch.float64))


def copied(layer: Layer, copies: list[int], *, mean_field: bool = False) -> tuple[Layer, list[int], list[float]]:
    """Return the wide layer, and for each of its parameters the source and the factor rho of its gradient."""
    source = [unit for unit, count in enumerate(copies) for _ in range(count)]
    rows, columns = layer.halves()
    divisor = [1 if mean_field else copies[unit] for unit in source]
    masses = torch.tensor([layer.masses[unit] / (copies[unit] if mean_field else 1) for unit in source])
    wide = Layer(
        [rows[unit].detach() for unit in source],
        [columns[unit].detach() / by for unit, by in zip(source, divisor, strict=True)],
        masses,
    )
    factors = [1 / by for by in divisor] + [1.0] * len(source)
    return wide, [*source, *(len(copies) + unit for unit in source)], factors


def adam(layer: Layer, factors: list[float] | None = None, *, follow_eps: bool = True) -> torch.optim.AdamW:
    """Return AdamW with epsilon times rho, rate times alpha and decay over alpha; alpha is 1/C for columns."""
    count = len(layer.masses)
    rho = factors or [1.0] * (2 * count)
    alpha = [1.0] * count + rho[:count]
    groups = [
        {"params": [parameter], "lr": RATE * a, "weight_decay": DECAY / a, "eps": EPS * (r if follow_eps else 1)}
        for parameter, a, r in zip(layer.parameters, alpha, rho, strict=True)
    ]
    return torch.optim.AdamW(groups, betas=(0.7, 0.9))


def scaled_state(state: dict[str, Tensor], rho: float) -> dict[str, Tensor]:
    """Return Adam's state of a copied parameter."""
    squares = {"exp_avg": rho, "exp_avg_sq": rho**2, "step": 1}
    return {name: value.clone() * squares[name] for name, value in state.items()}


def transferred(copies: list[int], seed: int, *, mean_field: bool, follow_eps: bool = True) -> tuple[float, float]:
    """Train, widen with the state, train on: return the relative errors of the outputs and of the states."""
    narrow = narrow_layer(len(copies), seed, 1 / len(copies) if mean_field else 1.0)
    optimizer = adam(narrow)
    narrow.train(optimizer, 4, mean_field=mean_field)
    wide, sources, factors = copied(narrow, copies, mean_field=mean_field)
    wide_optimizer = adam(wide, factors, follow_eps=follow_eps)
    pairs = list(zip(wide.parameters, (narrow.parameters[unit] for unit in sources), factors, strict=True))
    for parameter, original, rho in pairs:
        wide_optimizer.state[parameter] = scaled_state(optimizer.state[original], rho)
    narrow.train(optimizer, 6, mean_field=mean_field)
    wide.train(wide_optimizer, 6, mean_field=mean_field)
    states = [
        gap(wide_optimizer.state[parameter][name], value)
        for parameter, original, rho in pairs
        for name, value in scaled_state(optimizer.state[original], rho).items()
    ]
    return gap(wide(DATA[0]).detach(), narrow(DATA[0]).detach()), max(states)


@given(copies=multiplicities, seed=seeds, mean_field=st.booleans())
def test_adam_goes_on_unchanged(copies: list[int], seed: int, mean_field: bool) -> None:
    """Mean-field: state, rate and epsilon are copied as they are; `transferred` then has rho = alpha = 1."""
    function, state = transferred(copies, seed, mean_field=mean_field)
    assert function <= 1e-10
    assert state <= 1e-10


@given(copies=multiplicities.filter(lambda m: max(m) > 1), seed=seeds)
def test_an_epsilon_that_does_not_follow_is_seen(copies: list[int], seed: int) -> None:
    assert transferred(copies, seed, mean_field=False, follow_eps=False)[0] > 1e-6


@given(copies=multiplicities, seed=seeds)
def test_state_of_a_longer_run_is_the_scaled_state(copies: list[int], seed: int) -> None:
    """Momentum from the start: the buffer of a copy is rho times that of its source, at the rate alpha / rho."""
    narrow = narrow_layer(len(copies), seed)
    wide, sources, factors = copied(narrow, copies)
    count = len(wide.masses)
    alpha = [1.0] * count + factors[:count]
    groups = [
        {"params": [parameter], "lr": RATE * a / rho}
        for parameter, a, rho in zip(wide.parameters, alpha, factors, strict=True)
    ]
    optimizer = torch.optim.SGD(narrow.parameters, lr=RATE, momentum=0.8)
    wide_optimizer = torch.optim.SGD(groups, momentum=0.8)
    narrow.train(optimizer, 6)
    wide.train(wide_optimizer, 6)
    assert gap(wide(DATA[0]).detach(), narrow(DATA[0]).detach()) <= 1e-10
    for parameter, unit, rho in zip(wide.parameters, sources, factors, strict=True):
        expected = rho * optimizer.state[narrow.parameters[unit]]["momentum_buffer"]
        assert gap(wide_optimizer.state[parameter]["momentum_buffer"], expected) <= 1e-10


def gradients(decoder: Decoder, words: Tensor) -> list[tuple[str, Tensor]]:
    """Return the gradient of a cross-entropy loss in every tensor of a decoder, with its role on the residual axis."""
    tensors = [("embed", decoder.embed), ("read", decoder.head), *(("gain", gain) for gain in decoder.gains)]
    for layer in decoder.layers:
        tensors += [("write" if name in ("o", "down") else "read", tensor) for name, tensor in sorted(layer.items())]
    for _, tensor in tensors:
        tensor.requires_grad_()
    torch.nn.functional.cross_entropy(decoder.logits(words), words).backward()
    return [(role, tensor.grad) for role, tensor in tensors]


@given(copies=multiplicities, seed=seeds)
def test_gradients_of_a_widened_stream(copies: list[int], seed: int) -> None:
    """The residual axis too: copies of scale alpha have rho = 1/(m alpha) times the gradient, without noise."""
    decoder, words = Decoder.drawn(rmsnorm, len(copies), seed), tokens_of(seed)
    count = torch.tensor(copies, dtype=torch.float64)
    source = torch.arange(len(copies)).repeat_interleave(count.long())
    scale = torch.sqrt(len(source) / len(copies) / count)
    wide = gradients(balanced(decoder, copies, seed, noise=0.0), words)
    for (role, found), (_, narrow) in zip(wide, gradients(decoder, words), strict=True):
        alpha = {"read": 1 / count, "gain": 1 / scale}.get(role, scale)
        rho = (1 / (count * alpha))[source]
        expected = rho[:, None] * narrow[source] if role == "write" else rho * narrow[..., source]
        assert (found - expected).abs().max() <= 1e-10 * max(expected.abs().max(), 1e-3)

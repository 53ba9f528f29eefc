"""Claim `transfer.continued-training`: a widened model and its source go on training together.

A GPT-2 (LayerNorm, learned positions) and a Llama (RMSNorm, grouped queries, gated units), both with a tied head, are
trained on text for some steps and widened: every axis at once, feed-forward units and groups by a part of their number,
the stream to twice its width and, under RMSNorm, by a part. The source goes on with `torch.optim`; the wide model goes
on with the same batches, with the state and the rates that follow by the chain rule.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import gather, scatter
from rctheory.numerics import generator
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from rctheory.transfer.operator import Operator
from rctheory.transfer.optimizer_state import Rates, rates, transfer_state
from rctheory.transfer.transfer_plan import draw_transfer
from verification import gpt
from verification.decoder import decoder_loss, initial_decoder
from verification.language import SYMBOLS, batches, text

Weights = dict[str, Tensor]
States = dict[str, dict[str, Tensor]]

MOMENTUM, BETAS, EPSILON, DECAY = 0.9, (0.9, 0.99), 1e-5, 0.05
LEARNING_RATE = {"gd": 0.02, "adam": 2e-3}
PRECISIONS = {"double": torch.float64, "single": torch.float32}


@dataclass(frozen=True)
class Scale:
    """How much is trained: width of both models, context, batch, and steps before and after widening."""

    width: int
    context: int
    batch: int
    before: int
    after: int


SMOKE, CI, FULL = Scale(16, 8, 4, 2, 5), Scale(32, 24, 8, 40, 50), Scale(128, 64, 16, 200, 200)


@dataclass(frozen=True)
class Error:
    """What is planted: nothing, or one of three mistakes."""

    no_state: bool = False
    plain_rates: bool = False
    whole_reads: bool = False


def _gpt_config(scale: Scale) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "vocab_size": SYMBOLS,
        "n_positions": scale.context,
        "n_embd": scale.width,
        "n_inner": 4 * scale.width,
        "n_layer": 2,
        "n_head": 4,
    }


def _llama_config(scale: Scale) -> dict[str, Any]:
    return {
        "model_type": "mistral",  # a Llama whose heads need not fill the stream
        "vocab_size": SYMBOLS,
        "hidden_size": scale.width,
        "intermediate_size": 2 * scale.width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": scale.width // 4,
        "tie_word_embeddings": True,
    }


def _gpt_loss(config: Mapping[str, Any], weights: Weights, windows: Tensor) -> Tensor:
    return gpt.Gpt(gpt.size_of(config), weights).loss(windows)


@dataclass(frozen=True)
class Subject:
    """A kind of model: its configuration, weights and loss, what grows, and a tensor that reads what grows."""

    config: Callable[[Scale], dict[str, Any]]
    initial: Callable[[Mapping[str, Any], int], Weights]
    loss: Callable[[Mapping[str, Any], Weights, Tensor], Tensor]
    growth: Callable[[int], dict[str, int]]
    reader: str


SUBJECTS = {
    "GPT-2": Subject(
        _gpt_config,
        lambda config, seed: gpt.initial(gpt.size_of(config), seed, torch.device("cpu")).weights,
        _gpt_loss,
        lambda width: {"residual": 2 * width, "head": 8, "ffn": 5 * width + 3},
        "transformer.h.0.mlp.c_proj.weight",
    ),
    "Llama": Subject(
        _llama_config,
        initial_decoder,
        decoder_loss,
        lambda width: {"residual": width + width // 2 + 1, "group": 3, "ffn": 3 * width + 1},
        "model.layers.0.mlp.down_proj.weight",
    ),
}


@dataclass(frozen=True)
class Path:
    """A source before it is widened, the state of its optimiser by stored name, and its losses afterwards."""

    weights: Weights
    state: States
    losses: tuple[float, ...]


def _drawn(scale: Scale, seed: int) -> list[Tensor]:
    """Draw the batches of both parts of the training."""
    symbols, random = text()[0].symbols, generator(seed, "continued-training", "batches")
    steps = scale.before + scale.after
    return list(batches(symbols, batch=scale.batch, length=scale.context, steps=steps, stream=random))


@lru_cache(maxsize=32)
def _source(name: str, optimizer: str, dtype: torch.dtype, scale: Scale, seed: int) -> Path:
    """Train a source to its end with an optimiser of torch, and remember where it is to be widened."""
    subject = SUBJECTS[name]
    config = subject.config(scale)
    start = subject.initial(config, seed)
    weights = {key: tensor.to(dtype).requires_grad_() for key, tensor in start.items()}
    # One parameter after the other: fused kernels would round otherwise than the plain formula.
    settings: dict[str, Any] = {"lr": LEARNING_RATE[optimizer], "weight_decay": DECAY, "foreach": False}
    of_torch: torch.optim.Optimizer
    if optimizer == "gd":
        of_torch = torch.optim.SGD(weights.values(), momentum=MOMENTUM, **settings)
    else:
        of_torch = torch.optim.AdamW(weights.values(), betas=BETAS, eps=EPSILON, **settings)
    frozen, state, losses = {}, {}, []
    for step, windows in enumerate(_drawn(scale, seed)):
        if step == scale.before:
            frozen = {key: tensor.detach().clone() for key, tensor in weights.items()}
            state = {key: _cloned(of_torch.state[tensor]) for key, tensor in weights.items()}
        of_torch.zero_grad()
        loss = subject.loss(config, weights, windows)
        loss.backward()
        of_torch.step()
        losses.append(float(loss.detach()))
    return Path(frozen, state, tuple(losses[scale.before :]))


def _cloned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


def _wide(name: str, optimizer: str, dtype: torch.dtype, scale: Scale, seed: int, error: Error) -> float:
    """Widen a source, train on, and return the largest difference of the losses."""
    subject, path = SUBJECTS[name], _source(name, optimizer, dtype, scale, seed)
    config = subject.config(scale)
    layout = layout_of(config)
    plan = draw_transfer(layout, subject.growth(scale.width), seed=seed)
    operator = plan.operator(layout)
    wide_config = operator.configure(config, plan.targets)
    wide_layout = layout_of(wide_config)
    taken = {key: operator.apply(key, tensor) for key, tensor in declared(layout, path.weights).items()}
    if error.whole_reads:
        taken[subject.reader] *= plan.targets["ffn"] / plan.sizes["ffn"]
    weights = stored(wide_layout, taken)
    state = _wide_state(operator, wide_layout, path.state)
    if error.no_state:
        state = {
            key: {kind: torch.zeros_like(value) for kind, value in entries.items()} for key, entries in state.items()
        }
    factors = _wide_rates(operator, wide_layout, optimizer, dtype, plain=error.plain_rates)
    gap = 0.0
    for windows, want in zip(_drawn(scale, seed)[scale.before :], path.losses, strict=True):
        leaves = {key: tensor.requires_grad_() for key, tensor in weights.items()}
        loss = subject.loss(wide_config, leaves, windows)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        with torch.no_grad():
            for (key, tensor), gradient in zip(leaves.items(), gradients, strict=True):
                STEPS[optimizer](tensor, gradient, state[key], factors[key])
        difference = abs(float(loss.detach()) - want)
        gap = max(gap, difference) if difference == difference else difference
        if gap != gap:
            return gap
    return gap


def _gd_step(weight: Tensor, gradient: Tensor, state: dict[str, Tensor], factors: Rates) -> None:
    """Heavy ball with a penalty inside the gradient, each weight at its own rate."""
    penalised = gradient + DECAY * factors.decay * weight
    state["momentum_buffer"].mul_(MOMENTUM).add_(penalised)
    weight -= LEARNING_RATE["gd"] * factors.learning_rate * state["momentum_buffer"]


def _adam_step(weight: Tensor, gradient: Tensor, state: dict[str, Tensor], factors: Rates) -> None:
    """AdamW, each weight at its own rate, epsilon and decay."""
    step, (first, second) = state["step"], BETAS
    step += 1
    rate = LEARNING_RATE["adam"] * factors.learning_rate
    weight *= 1 - rate * DECAY * factors.decay
    state["exp_avg"].lerp_(gradient, 1 - first)
    state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    root = (state["exp_avg_sq"] / (1 - second ** float(step))).sqrt()
    weight -= rate * state["exp_avg"] / (1 - first ** float(step)) / (root + EPSILON * factors.epsilon)


STEPS = {"gd": _gd_step, "adam": _adam_step}


def _wide_state(operator: Operator, wide: Layout, state: States) -> States:
    """Carry a state from the stored tensors of the source to those of the target."""
    kinds = {kind for entries in state.values() for kind in entries}
    by_kind: dict[str, Weights] = {}
    for kind in kinds - {"step"}:
        whole = declared(operator.layout, {key: entries[kind] for key, entries in state.items()})
        carried = transfer_state(operator, {key: {kind: value} for key, value in whole.items()})
        by_kind[kind] = stored(wide, {key: entries[kind] for key, entries in carried.items()})
    return {
        key: {
            **{kind: by_kind[kind][key] for kind in by_kind},
            **{k: entries[k].clone() for k in entries if k == "step"},
        }
        for key, entries in state.items()
    }


def _wide_rates(
    operator: Operator, wide: Layout, optimizer: str, dtype: torch.dtype, *, plain: bool
) -> dict[str, Rates]:
    """Return the rates of every weight of the stored tensors; plain ones are those of the source."""
    found = rates(operator, optimizer)
    settings = {}
    for kind in ("learning_rate", "epsilon", "decay"):
        whole = {key: getattr(found[key], kind).expand(wide.tensors[key].shape).to(dtype) for key in found}
        settings[kind] = stored(wide, {k: torch.ones_like(v) for k, v in whole.items()} if plain else whole)
    return {key: Rates(*(settings[kind][key] for kind in settings)) for key in settings["decay"]}


def declared(layout: Layout, weights: Mapping[str, Tensor]) -> Weights:
    """Return declared tensors out of stored ones."""
    return {key: gather(weights, layout.place(key, Naming.TRANSFORMERS)).clone() for key in layout.tensors}


def stored(layout: Layout, tensors: Mapping[str, Tensor]) -> Weights:
    """Return stored tensors out of declared ones."""
    dtype = next(iter(tensors.values())).dtype
    shapes = layout.stored_shapes(Naming.TRANSFORMERS)
    found = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        scatter(tensor, layout.place(name, Naming.TRANSFORMERS), found)
    return found


def _measure(context: Context, error: Error | None = None) -> Measurement:
    """Train every subject with every optimiser in both precisions."""
    scale = context.choose(smoke=SMOKE, ci=CI, full=FULL)
    rows = tuple((name, optimizer) for name in SUBJECTS for optimizer in LEARNING_RATE)
    gaps = tuple(
        tuple(_wide(*row, dtype, scale, context.seed, error or Error()) for dtype in PRECISIONS.values())
        for row in rows
    )
    largest = {
        kind: max((row[column] for row in gaps), key=lambda gap: (gap != gap, gap))
        for column, kind in enumerate(PRECISIONS)
    }
    title = f"Largest difference of the losses in {scale.after} steps"
    table = Table(title, tuple(" ".join(row) for row in rows), tuple(PRECISIONS), gaps)
    return Measurement({kind: Estimate(gap) for kind, gap in largest.items()}, (table,))


EXPERIMENT = Experiment("GPT-2 and Llama, widened on every axis while they train: momentum and AdamW", _measure)
NO_STATE = Experiment(
    "the optimiser of the wide model starts afresh", lambda context: _measure(context, Error(no_state=True))
)
PLAIN_RATES = Experiment(
    "learning rates, epsilon and decay of the source for all weights of the wide model",
    lambda context: _measure(context, Error(plain_rates=True)),
)
WHOLE_READS = Experiment(
    "one matrix that reads copied units does not share its weights out",
    lambda context: _measure(context, Error(whole_reads=True)),
)

"""A GPT-2 of any size: its architecture and tensors as transformers stores them, trained here on English text.

Pre-LayerNorm blocks, learned positions, causal attention, GELU by its tanh form, biases everywhere, a head that is the
embedding. Matrices of projections are stored input by output (`Conv1D`), unlike those of other architectures.
"""

import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from rctheory.numerics import generator, single_threaded_kernels
from rctheory.suite.experiment import Context
from verification.language import SYMBOLS, batches, text, windows

EPSILON = 1e-5  # of every LayerNorm
DEVIATION = 0.02  # of every weight at initialisation; gains are one, biases zero
DECAY = 0.1
WARM_UP = 0.05  # of all steps; then a cosine down to a tenth


@dataclass(frozen=True)
class Size:
    """Sizes of a GPT-2."""

    width: int
    layers: int
    heads: int
    context: int
    symbols: int = SYMBOLS


@dataclass(frozen=True)
class Schedule:
    """How a GPT-2 is trained: AdamW on random windows of the training text."""

    steps: int
    batch: int
    rate: float


SMOKE = Size(64, 2, 4, 16), Schedule(600, 16, 1e-2)
CI = Size(96, 3, 4, 32), Schedule(900, 16, 4e-3)
FULL = Size(384, 6, 6, 256), Schedule(2000, 64, 1e-3)


@dataclass(frozen=True)
class Gpt:
    """A GPT-2: weights by the names of transformers, `transformer.h.0.attn.c_attn.weight` and so on."""

    size: Size
    weights: dict[str, Tensor]

    def logits(self, symbols: Tensor) -> Tensor:
        """Return logits (B, T, V) of the next symbol, for symbols (B, T) with T up to the context."""
        stream = self.embed(symbols)
        for layer in range(self.size.layers):
            stream = self.attend(layer, stream)
            stream = self.write(layer, stream, self.hidden(layer, stream))
        return self.read(stream)

    def embed(self, symbols: Tensor) -> Tensor:
        """Return the stream (B, T, width) before the first block."""
        return (
            self.weights["transformer.wte.weight"][symbols] + self.weights["transformer.wpe.weight"][: symbols.shape[1]]
        )

    def attend(self, layer: int, stream: Tensor) -> Tensor:
        """Return the stream after the attention of a block."""
        block = f"transformer.h.{layer}"
        return stream + self._attention(f"{block}.attn", self._norm(f"{block}.ln_1", stream))

    def hidden(self, layer: int, stream: Tensor) -> Tensor:
        """Return what the feed-forward units of a block do, (B, T, units), from the stream after its attention."""
        block = f"transformer.h.{layer}"
        hidden = self._project(f"{block}.mlp.c_fc", self._norm(f"{block}.ln_2", stream))
        return functional.gelu(hidden, approximate="tanh")

    def write(self, layer: int, stream: Tensor, hidden: Tensor) -> Tensor:
        """Return the stream after a block, into which its feed-forward units write."""
        return stream + self._project(f"transformer.h.{layer}.mlp.c_proj", hidden)

    def read(self, stream: Tensor) -> Tensor:
        """Return logits from the stream after the last block."""
        return self._norm("transformer.ln_f", stream) @ self.weights["transformer.wte.weight"].T

    def loss(self, windows: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats for each symbol, of windows (B, T + 1)."""
        logits = self.logits(windows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())

    def _attention(self, name: str, x: Tensor) -> Tensor:
        """Causal self-attention of all heads."""
        # (B, T, 3 * heads * d): queries of all heads, then keys, then values.
        parts = self._project(f"{name}.c_attn", x).split(self.size.width, dim=-1)
        query, key, value = (part.unflatten(-1, (self.size.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._project(f"{name}.c_proj", mixed.transpose(1, 2).flatten(-2))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """LayerNorm over the residual coordinates."""
        gain, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, (self.size.width,), gain, bias, EPSILON)

    def _project(self, name: str, x: Tensor) -> Tensor:
        """Return x W + b, with W stored input by output."""
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def initial(size: Size, seed: int, device: torch.device) -> Gpt:
    """Return a GPT-2 as it is initialised: every matrix iid N(0, 0.02^2), its writes divided by sqrt(2 layers)."""
    weights: dict[str, Tensor] = {}
    for name, shape in shapes(size).items():
        if len(shape) == 1:
            weights[name] = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        else:
            scale = DEVIATION / math.sqrt(2 * size.layers) if name.endswith("c_proj.weight") else DEVIATION
            weights[name] = scale * torch.randn(shape, generator=generator(seed, "gpt", "init", name))
    return Gpt(size, {name: weight.to(device) for name, weight in weights.items()})


def shapes(size: Size) -> dict[str, tuple[int, ...]]:
    """Return the shape of every stored tensor, in the order of the model."""
    n = size.width
    found: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (size.symbols, n),
        "transformer.wpe.weight": (size.context, n),
    }
    linear = {"attn.c_attn": (n, 3 * n), "attn.c_proj": (n, n), "mlp.c_fc": (n, 4 * n), "mlp.c_proj": (4 * n, n)}
    for layer in range(size.layers):
        block = f"transformer.h.{layer}"
        found |= {f"{block}.{norm}.{part}": (n,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
        for name, shape in linear.items():
            found |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[1:]}
    return found | {"transformer.ln_f.weight": (n,), "transformer.ln_f.bias": (n,)}


@single_threaded_kernels()  # the order of sums follows the number of threads, and training magnifies it
def train(start: Gpt, schedule: Schedule, seed: int) -> Gpt:
    """Return the model after AdamW, with a warm-up and a cosine; vectors and positions do not decay."""
    weights = {name: weight.clone().requires_grad_() for name, weight in start.weights.items()}
    model = Gpt(start.size, weights)
    matrices = [weight for weight in weights.values() if weight.dim() > 1]
    vectors = [weight for weight in weights.values() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98), fused=True)
    training, _ = text()
    drawn = batches(
        training.symbols,
        batch=schedule.batch,
        length=start.size.context,
        steps=schedule.steps,
        stream=generator(seed, "gpt", "batches"),
    )
    for step, batch in enumerate(drawn):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * _share(step, schedule.steps)
        optimizer.zero_grad()
        model.loss(batch.to(weights["transformer.wte.weight"].device)).backward()
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimizer.step()
    return Gpt(start.size, {name: weight.detach() for name, weight in weights.items()})


def initial_gpt(context: Context) -> Gpt:
    """Return the GPT-2 of a tier as it is initialised."""
    return initial(context.choose(smoke=SMOKE, ci=CI, full=FULL)[0], context.seed, context.device)


def trained_gpt(context: Context) -> Gpt:
    """Return the GPT-2 of a tier, trained; once in a process."""
    return _trained(*context.choose(smoke=SMOKE, ci=CI, full=FULL), context.seed, str(context.device))


@lru_cache(maxsize=2)
def _trained(size: Size, schedule: Schedule, seed: int, device: str) -> Gpt:
    return train(initial(size, seed, torch.device(device)), schedule, seed)


def held_out_loss(model: Gpt) -> float:
    """Return the loss on the held-out text, in nats for each character."""
    _, held_out = text()
    cut = windows(held_out.symbols, length=model.size.context).to(model.weights["transformer.wte.weight"].device)
    with torch.no_grad():
        return sum(float(model.loss(part)) * len(part) for part in cut.split(64)) / len(cut)


def _share(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def configuration(size: Size) -> dict[str, Any]:
    """Return `config.json` as transformers' GPT-2 has it."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "vocab_size": size.symbols,
        "n_positions": size.context,
        "n_embd": size.width,
        "n_layer": size.layers,
        "n_head": size.heads,
        "n_inner": None,
        "layer_norm_epsilon": EPSILON,
        "initializer_range": DEVIATION,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }


def size_of(config: Mapping[str, Any]) -> Size:
    """Return the sizes that a `config.json` names."""
    return Size(config["n_embd"], config["n_layer"], config["n_head"], config["n_positions"], config["vocab_size"])


def save(model: Gpt, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` as transformers' GPT-2 does, each under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.cpu().contiguous() for name, weight in model.weights.items()}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        written = Path(temporary)
        save_file(weights, written / "model.safetensors", metadata={"format": "pt"})
        (written / "config.json").write_text(json.dumps(configuration(model.size), indent=1))
        for file in ("model.safetensors", "config.json"):
            os.replace(written / file, folder / file)


def main() -> None:
    """Train the model of the ci tier and write it, at step 0 and trained: `python -m verification.gpt FOLDER`."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m verification.gpt FOLDER")
    folder, context = Path(sys.argv[1]), Context()
    save(initial_gpt(context), folder / "step-0")
    trained = trained_gpt(context)
    save(trained, folder / "trained")
    loss = held_out_loss(trained)
    print(f"{folder}/trained: held-out loss {loss:.3f} nats for each character; {folder}/step-0 beside it")


if __name__ == "__main__":
    main()

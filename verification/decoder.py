"""A Llama of any size in plain torch: grouped queries, rotary positions, gated units, RMSNorm, a tied head."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rctheory.architectures.registry import layout_of
from rctheory.numerics import generator

EPSILON = 1e-6
DEVIATION = 0.06  # of every weight at initialisation, about one over the root of the width
EMBEDDING, HEAD_NORM = "model.embed_tokens.weight", "model.norm.weight"


def initial_decoder(config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """Return random weights by the names of transformers: gains about one, everything else about zero."""
    weights = {}
    for name, tensor in layout_of(config).tensors.items():
        noise = torch.randn(tensor.shape, generator=generator(seed, "decoder", "init", name))
        weights[name] = DEVIATION * noise + (1.0 if len(tensor.shape) == 1 else 0.0)
    return weights


def decoder_loss(config: Mapping[str, Any], weights: Mapping[str, Tensor], windows: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats for each symbol, of windows (B, T + 1)."""
    stream = weights[EMBEDDING][windows[:, :-1]]
    for layer in range(config["num_hidden_layers"]):
        block = {k.removeprefix(f"model.layers.{layer}."): w for k, w in weights.items() if f".{layer}." in k}
        stream = stream + _attention(config, block, _norm(stream, block["input_layernorm.weight"]))
        stream = stream + _gated(block, _norm(stream, block["post_attention_layernorm.weight"]))
    logits = _norm(stream, weights[HEAD_NORM]) @ weights[EMBEDDING].T
    return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def _norm(x: Tensor, gain: Tensor) -> Tensor:
    """Return gain * x / rms(x)."""
    return gain * x / (x.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt()


def _gated(block: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Gated feed-forward map."""
    gate, up = x @ block["mlp.gate_proj.weight"].T, x @ block["mlp.up_proj.weight"].T
    return (functional.silu(gate) * up) @ block["mlp.down_proj.weight"].T


def _attention(config: Mapping[str, Any], block: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Causal attention of query heads in groups that share a key and a value, (B, T, D) to (B, T, D)."""
    repeated = config["num_attention_heads"] // config["num_key_value_heads"]
    query, key, value = (
        (x @ block[f"self_attn.{name}_proj.weight"].T).unflatten(-1, (-1, config["head_dim"])).transpose(1, 2)
        for name in ("q", "k", "v")
    )
    key, value = (_turned(key).repeat_interleave(repeated, dim=1), value.repeat_interleave(repeated, dim=1))
    mixed = functional.scaled_dot_product_attention(_turned(query), key, value, is_causal=True)
    return mixed.transpose(1, 2).flatten(-2) @ block["self_attn.o_proj.weight"].T


def _turned(x: Tensor) -> Tensor:
    """Rotate the coordinates (j, j + d/2) of (B, heads, T, d) by the angle t / 100^(2j/d)."""
    time, half = x.shape[-2], x.shape[-1] // 2
    rates = torch.exp(-math.log(100.0) * torch.arange(half, dtype=x.dtype, device=x.device) / half)
    angles = torch.arange(time, dtype=x.dtype, device=x.device)[:, None] * rates
    low, high = x[..., :half], x[..., half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)

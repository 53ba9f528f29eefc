"""A Llama forward pass in float64, written from its definition: the declaration is checked against it."""

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.llama import llama

SIZES = {"residual": 12, "vocabulary": 7, "ffn": 10, "group": 2, "head": 3, "key_dim": 6, "value_dim": 6}


def toy_layout(layers: int = 2, **sizes: int) -> Layout:
    """Return the layout of a small untied model."""
    return llama(tied=False).layout(SIZES | sizes, layers)


def random_weights(layout: Layout, seed: int) -> dict[str, Tensor]:
    """Draw every tensor from a normal law."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=random, dtype=torch.float64)
        for name, tensor in layout.tensors.items()
    }


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Return gain * x / rms(x)."""
    return gain * x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()


def rotate_halves(x: Tensor) -> Tensor:
    """Rotate coordinates (j, j + d/2) of (time, heads, d) by the angle t theta_j: the order of safetensors models."""
    time, _, d = x.shape
    angle = torch.arange(time, dtype=x.dtype)[:, None, None] * 100.0 ** (
        -torch.arange(d // 2, dtype=x.dtype) / (d // 2)
    )
    low, high = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()], dim=-1)


def rotate_pairs(x: Tensor) -> Tensor:
    """Rotate coordinates (2j, 2j + 1) of (time, heads, d) by the angle t theta_j: the order of GGUF models."""
    time, _, d = x.shape
    angle = torch.arange(time, dtype=x.dtype)[:, None, None] * 100.0 ** (
        -torch.arange(d // 2, dtype=x.dtype) / (d // 2)
    )
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = (even * angle.cos() - odd * angle.sin(), odd * angle.cos() + even * angle.sin())
    return torch.stack(rotated, dim=-1).reshape(x.shape)


def forward(weights: dict[str, Tensor], tokens: Tensor, layers: int, sizes: dict[str, int]) -> Tensor:
    """Return the logits of an untied model for a sequence of tokens."""
    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(layers):
        w = {k.removeprefix(f"model.layers.{layer}."): v for k, v in weights.items() if f"layers.{layer}." in k}
        h = rms_norm(x, w["input_layernorm.weight"])
        x = x + attention(w, h, sizes) @ w["self_attn.o_proj.weight"].T
        h = rms_norm(x, w["post_attention_layernorm.weight"])
        gate, up = h @ w["mlp.gate_proj.weight"].T, h @ w["mlp.up_proj.weight"].T
        x = x + (torch.nn.functional.silu(gate) * up) @ w["mlp.down_proj.weight"].T
    return rms_norm(x, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def attention(w: dict[str, Tensor], h: Tensor, sizes: dict[str, int]) -> Tensor:
    """Return the concatenated head outputs, (time, groups x heads x value coordinates)."""
    time, groups, heads = len(h), sizes["group"], sizes["head"]
    q = rotate_halves((h @ w["self_attn.q_proj.weight"].T).reshape(time, groups * heads, -1))
    k = rotate_halves((h @ w["self_attn.k_proj.weight"].T).reshape(time, groups, -1)).repeat_interleave(heads, dim=1)
    v = (h @ w["self_attn.v_proj.weight"].T).reshape(time, groups, -1).repeat_interleave(heads, dim=1)
    scores = torch.einsum("thd,shd->hts", q, k) / q.shape[-1] ** 0.5
    causal = torch.ones(time, time).triu(1).bool()
    return torch.einsum("hts,shd->thd", scores.masked_fill(causal, -torch.inf).softmax(-1), v).reshape(time, -1)

"""All widenings at once: residual stream, gated units, groups, a tied head, and noise wherever it is free."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import Decoder, gap, generator, rmsnorm, seeds, tokens_of, zero_sum
from tests.proofs.test_widening_rmsnorm import balanced, multiplicities


def copies_of(count: int, copies: list[int]) -> Tensor:
    """Return the source of every copy; `copies` is repeated as often as it takes."""
    return torch.arange(count).repeat_interleave(torch.tensor((copies * count)[:count]))


@given(
    residual=multiplicities, units=multiplicities, groups=st.tuples(st.integers(1, 3), st.integers(1, 3)), seed=seeds
)
def test_all_axes_at_once(residual: list[int], units: list[int], groups: tuple[int, int], seed: int) -> None:
    """Every axis with multiplicities of its own: the logits stay, and embedding and head stay one matrix."""
    decoder, words = Decoder.drawn(rmsnorm, len(residual), seed, tied=True), tokens_of(seed)
    wide, draw = balanced(decoder, residual, seed + 1), generator(seed + 2)
    unit, group = copies_of(9, units), copies_of(2, list(groups))
    query = (2 * group[:, None] + torch.arange(2)).flatten()
    width = wide.embed.shape[1]

    def split(columns: Tensor, source: Tensor) -> Tensor:
        """Split (..., sources) evenly among the copies, with noise of sum zero."""
        shares = 1 / torch.bincount(source).double()[source]
        return columns[..., source] * shares + zero_sum(draw(*columns.shape[:-1], len(source)), source)

    layers = []
    for layer in wide.layers:
        rows = {name: layer[name].unflatten(0, (-1, 4)) for name in "qkv"}
        taken = {"q": rows["q"][query], "k": rows["k"][group], "v": rows["v"][group]}
        out = split(layer["o"].unflatten(1, (4, 4)).mT, query).mT.flatten(1)
        gated = {"gate": layer["gate"][unit], "up": layer["up"][unit], "down": split(layer["down"], unit)}
        layers.append({name: part.flatten(0, 1) for name, part in taken.items()} | {"o": out} | gated)
    final = decoder.gains[-1][copies_of(len(residual), residual)] * len(residual) / width
    wide = replace(wide, layers=layers, counts=(len(query), len(group))).tied(final, wide.biases[-1])
    assert wide.head is wide.embed
    assert gap(wide.logits(words), decoder.logits(words)) <= 1e-10

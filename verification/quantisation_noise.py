"""Claim `quantisation.noise`: Q4_1 rounding adds noise of known moments, and the packaged model carries just that."""

from functools import cache, partial

import torch
from torch import Tensor

from rctheory.checkpoints.sources import open_checkpoint, require_packaged
from rctheory.numerics import generator
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.fluctuations import mean_estimate
from verification.quantisation import (
    BLOCK,
    KEPT,
    LEVELS,
    Moments,
    blocks,
    gaussian_moments,
    noise_variance,
    quantise,
    round_symmetric,
)

MODEL = "smollm2"
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ROWS, COLUMNS = 512, 1024  # of one Gaussian array


def _measure(context: Context, *, offset: bool = True, kept: int = KEPT) -> Measurement:
    """Round Gaussian arrays and hold the noise against the integrals; read the steps of the packaged model."""
    derived, exact = gaussian_moments(), (BLOCK - KEPT) / BLOCK
    variance = derived.variance * (BLOCK - kept) / BLOCK / exact
    arrays = context.choose(smoke=8, ci=32, full=512)
    context.report_progress(f"rounding {arrays} Gaussian arrays of {ROWS} x {COLUMNS}")
    measured = _rounded(arrays, context.seed, offset)
    shift = 0.5 * torch.log(torch.tensor(1 + derived.growth)).item()
    quantities: dict[str, Quantity] = {
        "variance": mean_estimate(measured[:, 0] / variance),
        "norm_shift": mean_estimate(measured[:, 1] / shift),
        "sizes": mean_estimate(measured[:, 2] / derived.sizes),
        "neighbours": mean_estimate(measured[:, 3]),
        "rows": mean_estimate(measured[:, 4]),
    }
    layers = context.choose(smoke=3, ci=30, full=30)
    context.report_progress(f"reading {layers} layers of {MODEL}")
    on_grid, noise = _packaged(layers)
    quantities["packaged_grid"] = Estimate(on_grid)
    quantities["packaged_noise"] = Estimate(float(noise.mean()))
    return Measurement(quantities, (_noise_map(noise),), _remarks(derived, on_grid, noise))


@cache
def _rounded(arrays: int, seed: int, offset: bool) -> Tensor:
    """Return the moments of every array (arrays, 5)."""
    stream = generator(seed, "quantisation", "gaussian")
    drawn = (torch.randn(ROWS, COLUMNS, generator=stream) for _ in range(arrays))
    return torch.stack([_moments(W, quantise(W) if offset else round_symmetric(W)) for W in drawn])


def _moments(W: Tensor, rounded: Tensor) -> Tensor:
    """Return variance, shift of log row norms, and the three correlations of the noise of one array."""
    x = W.double()
    noise = rounded.double() - x
    variance = noise.square().mean()
    cut = blocks(noise)
    squares = cut.square()
    fourth = squares.square()
    pairs = BLOCK * (BLOCK - 1)
    size_products = (squares.sum(dim=-1).square() - fourth.sum(dim=-1)).mean() / pairs
    products = (cut.sum(dim=-1).square() - squares.sum(dim=-1)).mean() / pairs
    return torch.stack(
        [
            variance,
            ((x + noise).norm(dim=1) / x.norm(dim=1)).log().mean(),
            (size_products - variance.square()) / (fourth.mean() - variance.square()),
            products / variance,
            (noise[1:] * noise[:-1]).mean() / variance,
        ]
    )


@cache
def _packaged(layers: int) -> tuple[float, Tensor]:
    """Return the share of blocks that lie on a grid of 16 levels and use both ends, and noise over weight sd by matrix.

    The sd of a weight is taken before rounding: what is stored has the variance of the weight, of the noise and twice
    their covariance.
    """
    derived = gaussian_moments()
    growth = derived.growth / derived.variance
    ratios, good, total = [], 0, 0
    with open_checkpoint(MODEL) as checkpoint:
        for layer in range(layers):
            for name in MATRICES:
                part = "self_attn" if name[0] in "qkvo" else "mlp"
                stored = checkpoint.tensor(f"model.layers.{layer}.{part}.{name}.weight").double()
                good += int(_on_grid(stored).sum())
                total += stored.numel() // BLOCK
                noise = noise_variance(stored).mean()
                ratios.append((noise / (stored.var() - growth * noise)).sqrt())
    return good / total, torch.stack(ratios).reshape(layers, len(MATRICES))


def _on_grid(stored: Tensor) -> Tensor:
    """Return, for every block, whether its values are minimum + level * step with whole levels 0..15.

    The step is a fifteenth of the range, so both ends are used by construction: a block that had been cut to fewer
    levels would leave values between the levels of that step.
    """
    cut = blocks(stored)
    low = cut.amin(dim=-1, keepdim=True)
    step = (cut.amax(dim=-1, keepdim=True) - low) / LEVELS
    level = (cut - low) / step
    return ((level - level.round()).abs() <= 1e-3).all(dim=-1)  # half precision times 15 levels rounds at 1e-6


def _noise_map(noise: Tensor) -> Table:
    """Draw the noise of every matrix."""
    rows = tuple(f"layer {layer}" for layer in range(len(noise)))
    values = tuple(tuple(row) for row in noise.tolist())
    return Table(
        f"{MODEL}: sd of the rounding noise over the sd of the weights, from the stored steps", rows, MATRICES, values
    )


def _remarks(derived: Moments, on_grid: float, noise: Tensor) -> tuple[str, ...]:
    """Say what was derived and what the packaged model shows."""
    return (
        f"Derived for Gaussian weights: noise sd {derived.variance**0.5:.4f} of the weight sd, covariance with the "
        f"weight {derived.covariance:.6f}, correlation of two places of a block {derived.neighbours:.1e} (half "
        f"precision adds 1e-4), of their squares {derived.sizes:.4f}: neighbours share the size of the noise, not the "
        "noise.",
        f"{MODEL}: {100 * on_grid:.4g}% of the blocks lie on a grid of 16 levels and use both ends, so they were "
        f"rounded by their range; noise sd {float(noise.min()):.4f} to {float(noise.max()):.4f} of the weight sd, by "
        "matrix: heavy tails widen the range.",
    )


_INSTALLED = partial(require_packaged, MODEL)
EXPERIMENT = Experiment(
    "Q4_1 rounding of Gaussian arrays, and the stored steps of the packaged model", _measure, _INSTALLED
)
NO_OFFSET = Experiment(
    "rounding without an offset, as in Q4_0", lambda context: _measure(context, offset=False), _INSTALLED
)
EVERY_ENTRY = Experiment(
    "the minimum and maximum of a block taken to be rounded too", lambda context: _measure(context, kept=0), _INSTALLED
)

"""Q4_1: the quantiser against that of the gguf package, the derived moments against other integrals and by hand."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, dequantize, quantize
from scipy import integrate
from scipy.stats import norm

from rctheory.checkpoints.sources import find_packaged, open_checkpoint
from rctheory.errors import ShapeError
from verification.quantisation import BLOCK, blocks, gaussian_moments, noise_variance, quantise, steps
from verification.quantisation_effects import changes, log_moments

Q4_1 = GGMLQuantizationType.Q4_1


@pytest.mark.parametrize("scale", [1e-2, 1.0, 300.0])
def test_rounding_is_that_of_gguf(scale: float) -> None:
    W = scale * torch.randn(40, 96, generator=torch.Generator().manual_seed(0))
    W[0, :BLOCK] = 0.25 * scale  # a block of equal entries
    W[1, 3] = 20 * scale
    theirs = dequantize(quantize(W.numpy(), Q4_1), Q4_1)
    assert torch.equal(quantise(W), torch.from_numpy(np.array(theirs)))


def test_rounding_twice_changes_nothing_but_half_precision() -> None:
    once = quantise(torch.randn(16, 64, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(quantise(once), once, rtol=0, atol=4e-3)
    torch.testing.assert_close(steps(quantise(once)), steps(once), rtol=2e-3, atol=0)


def test_steps_of_what_is_stored_are_the_stored_steps() -> None:
    with open_checkpoint("smollm2") as checkpoint:
        found = steps(checkpoint.tensor("model.layers.3.mlp.down_proj.weight"))
    reader = GGUFReader(find_packaged("smollm2"))
    raw = next(tensor for tensor in reader.tensors if tensor.name == "blk.3.ffn_down.weight").data
    stored = np.array(raw).reshape(-1, 20)[:, :2].copy().view(np.float16).astype(np.float32)
    torch.testing.assert_close(found.flatten(), torch.from_numpy(stored).flatten(), rtol=1e-6, atol=0)


def test_rows_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ShapeError):
        blocks(torch.zeros(3, 40))


def test_noise_variance_is_the_mean_range_of_the_block() -> None:
    """E range^2 = 2 int int_{x<y} P(min < x, max > y), another integral than the one over (min, max)."""
    n = BLOCK

    def both_beyond(y: float, x: float) -> float:
        low, high = norm.cdf(x), norm.cdf(y)
        return float(1 - (1 - low) ** n - high**n + (high - low) ** n)

    squared, _ = integrate.dblquad(both_beyond, -8, 8, lambda x: x, 8, epsabs=1e-6)
    expected = (n - 2) / n * 2 * squared / 15**2 / 12
    derived = gaussian_moments()
    assert derived.mass == pytest.approx(1, abs=1e-6)
    # Not exactly: the density bends a little inside a step.
    assert derived.variance == pytest.approx(expected, rel=1e-3)


def test_covariance_comes_from_the_outermost_half_steps() -> None:
    """With two levels all is rounded outward: e = sign(x - middle) * range / 2 - (x - middle), all of it by hand."""
    derived = gaussian_moments(levels=1)
    W = torch.randn(200_000, BLOCK, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    low, high = W.amin(dim=1, keepdim=True), W.amax(dim=1, keepdim=True)
    e = torch.where(W - low < high - W, low, high) - W
    assert derived.variance == pytest.approx(float(e.square().mean()), rel=5e-3)
    assert derived.covariance == pytest.approx(float((e * W).mean()), rel=5e-3)


def test_predicted_noise_is_the_noise_of_other_laws_too() -> None:
    """The step is read off the block, so the law of the weights does not enter: here Student's t with 3 degrees."""
    stream = np.random.default_rng(3)
    W = torch.from_numpy(stream.standard_t(3, size=(2000, 256)))
    noise = quantise(W).double() - W
    assert float(noise.square().mean() / noise_variance(W).mean()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("x", [0.0, 0.3, -0.5, 2.0])
def test_log_moments_are_the_integrals(x: float) -> None:
    step = 0.8
    kinks = [-x] if abs(x) < step / 2 else None
    expected = [
        integrate.quad(lambda e, k=k: np.log(abs(x + e)) ** k / step, -step / 2, step / 2, points=kinks)[0]
        for k in (1, 2)
    ]
    found = log_moments(torch.tensor([x]).double(), torch.tensor([step]).double())
    assert [float(value) for value in found] == pytest.approx(expected, rel=1e-6)


def test_predicted_changes_are_those_of_gaussian_arrays_with_structure() -> None:
    stream = torch.Generator().manual_seed(4)
    rows, columns = (torch.randn(256, 2, generator=stream) for _ in range(2))
    W = torch.randn(256, 256, generator=stream) + 0.7 * rows @ columns.T + 0.3 * rows[:, :1]
    found = changes(W, quantise(W), 0)
    for name, tolerance in {"log row norm": 0.05, "log column norm": 0.05, "residual variance": 0.05}.items():
        change = found[name]
        assert change.after - change.before == pytest.approx(change.predicted - change.before, rel=tolerance)
    for name in ("interaction", "largest singular value", "variance of row means"):
        assert found[name].after == pytest.approx(found[name].predicted, rel=2e-3)

"""The pieces of the experiment that fits a matrix over training."""

import pytest
import torch
from scipy import stats

from rctheory.dynamics import CROSS_ENTROPY, train
from rctheory.suite.experiment import Context, Tier
from tests.helpers import stream
from verification import fit_training
from verification.digits import ansatz, digits
from verification.signature_laws import batches, one_hot


def test_the_matrices_are_those_of_plain_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_training, "_plan", lambda _context: (12, 2, (0, 3, 5)))
    kept = fit_training._middle.__wrapped__(Context(seed=4, tier=Tier.SMOKE), fit_training.GAIN)
    data, _ = digits()
    start = ansatz(gain=0.5, residual=1.0).sample((12, 12), range(2), root=4, dtype=torch.float32)
    assert sorted(kept) == [0, 3, 5]
    for steps, W in kept.items():
        picks = batches(len(data.x), 4, 5)
        plain = train(start, data.x, one_hot(data.labels), step=1.0, steps=steps, loss=CROSS_ENTROPY, batches=picks)
        torch.testing.assert_close(W, plain.weights[1].double(), rtol=1e-6, atol=1e-7)


def test_shuffling_keeps_the_entries_and_moves_them() -> None:
    W = torch.randn(3, 5, 7, generator=stream(0))
    planted = fit_training._shuffled(W)
    assert planted.shape == W.shape
    assert torch.equal(planted.flatten(1).sort().values, W.flatten(1).sort().values)
    assert not torch.equal(planted, W)


def test_the_interval_over_seeds_is_that_of_student() -> None:
    values = torch.randn(9, generator=stream(1), dtype=torch.float64)
    estimate = fit_training._mean(values.tolist())
    want = stats.t.interval(0.95, 8, loc=float(values.mean()), scale=stats.sem(values.numpy()))
    assert estimate.interval == pytest.approx(want, rel=1e-12)

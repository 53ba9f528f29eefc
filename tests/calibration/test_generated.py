"""Text that a model writes: the law of one drawn token."""

import pytest
import torch
from scipy.stats import chisquare

from rctheory.calibration.generated import _draw

SCORES = torch.tensor([0.3, -1.0, -torch.inf, 2.0, 0.0, -torch.inf])


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    """Return tokens of many windows with the same scores."""
    left = _draw(seed, 0)(torch.zeros(count, 1), SCORES.expand(count, -1))
    assert torch.equal((left == 0).sum(dim=1), torch.ones(count, dtype=torch.int64))
    assert bool((left[left != 0] == -torch.inf).all())
    return left.argmax(dim=1)


def test_tokens_have_the_law_of_the_scores() -> None:
    counts = drawn(20_000).bincount(minlength=len(SCORES))
    possible = SCORES.isfinite()
    assert counts[~possible].sum() == 0
    expected = SCORES.double().softmax(dim=0)[possible] * 20_000
    assert chisquare(counts[possible].numpy(), expected.numpy()).pvalue > 1e-3


def test_draws_are_those_of_the_seed() -> None:
    assert torch.equal(drawn(50), drawn(50))
    assert not torch.equal(drawn(50), drawn(50, seed=1))


@pytest.mark.parametrize("place", [0, 5])
def test_a_certain_token_is_drawn_at_either_end(place: int) -> None:
    """All other scores are impossible: also where the first or the last token is the only one."""
    scores = torch.full((200, 6), -torch.inf)
    scores[:, place] = 3.0
    assert bool((_draw(0, 0)(torch.zeros(200, 1), scores).argmax(dim=1) == place).all())

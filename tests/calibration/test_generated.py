"""Text that a model writes: the law of one drawn token, and how pieces make windows."""

from types import SimpleNamespace

import pytest
import torch
from scipy.stats import chisquare

from rctheory.calibration import generated
from rctheory.calibration.generated import _draw, generate_windows
from rctheory.errors import UsageError

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


FIRST = 7


def writer(bos: int | None = FIRST) -> SimpleNamespace:
    """Return a model that writes 0, 1, 2, ... after its first symbol."""

    def generate(prompt: torch.Tensor, *, max_new_tokens: int, **_how: object) -> torch.Tensor:
        return torch.cat([prompt, torch.arange(max_new_tokens).expand(len(prompt), -1)], dim=1)

    config, ends = SimpleNamespace(bos_token_id=bos), SimpleNamespace(eos_token_id=None)
    return SimpleNamespace(config=config, generation_config=ends, generate=generate)


@pytest.mark.parametrize(
    ("count", "length", "pieces"),
    [
        (2, 3, [[7, 0, 1], [7, 0, 1]]),
        (2, 8, [[7, 0, 1, 2, 7, 0, 1, 2], [7, 0, 1, 2, 7, 0, 1, 2]]),
        (2, 6, [[7, 0, 1, 2, 7, 0], [1, 2, 7, 0, 1, 2]]),
        (1, 6, [[7, 0, 1, 2, 7, 0]]),
    ],
)
def test_long_windows_hold_several_pieces(
    count: int, length: int, pieces: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "PIECE", 4)
    told: list[tuple[int, int]] = []
    found = generate_windows(writer(), count, length, report_progress=lambda done, total: told.append((done, total)))
    assert found.tolist() == pieces
    assert told == [(0, -(-count * length // min(4, length)))]


def test_a_model_without_a_first_symbol_is_refused() -> None:
    with pytest.raises(UsageError, match="a model without a first symbol"):
        generate_windows(writer(bos=None), 1, 4)

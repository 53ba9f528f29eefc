"""The text: nothing held out is trained on, and the losses that it is compared with are what they say."""

import math

import torch

from verification.language import (
    OTHER,
    SYMBOLS,
    Text,
    batches,
    bigram_loss,
    encode,
    text,
    unigram_loss,
    windows,
)


def test_topics_are_split_once_and_cover_the_text() -> None:
    training, held_out = text()
    assert not set(training.topics) & set(held_out.topics)
    share = len(held_out.symbols) / (len(training.symbols) + len(held_out.symbols))
    assert 0.08 <= share <= 0.101
    assert (training.symbols == OTHER).sum() < 1e-2 * len(training.symbols)


def test_characters_become_symbols() -> None:
    assert encode("\n ~…").tolist() == [0, 1, SYMBOLS - 2, OTHER]


def test_batches_are_pieces_of_the_text_with_targets_one_place_later() -> None:
    symbols = torch.arange(50)
    drawn = list(batches(symbols, batch=4, length=7, steps=3, stream=torch.Generator().manual_seed(0)))
    assert len(drawn) == 3
    for batch in drawn:
        assert batch.shape == (4, 8)
        assert torch.equal(batch[:, 1:], batch[:, :-1] + 1)
    starts = torch.cat([b[:, 0] for b in batches(symbols, batch=500, length=7, steps=1, stream=torch.Generator())])
    assert starts.min() == 0
    assert starts.max() == 42  # the last window ends with the text


def test_windows_predict_every_symbol_once() -> None:
    cut = windows(torch.arange(30), length=7)
    assert cut[:, 1:].flatten().tolist() == list(range(1, 29))


def test_losses_of_frequencies() -> None:
    """On a text of two symbols that alternate: the single symbol costs log 2, the pair next to nothing."""
    alternating = Text(torch.arange(2000) % 2, ())
    assert abs(unigram_loss(alternating, alternating) - math.log(2)) < 0.06  # plus one for each symbol never seen
    assert bigram_loss(alternating, alternating) < 1e-3

"""Windows of texts, with one token for each character."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.transfer import texts


@pytest.fixture(autouse=True)
def tokens_are_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    def tokenize(_folder: Path, text: str) -> Tensor:
        return torch.tensor([[ord(character) for character in text]])

    monkeypatch.setattr(texts, "tokenize", tokenize)
    monkeypatch.setattr(texts, "longest", lambda _folder: None)


def windows(words: list[str], tokens: int, length: int) -> list[str]:
    return ["".join(map(chr, row)) for row in texts.windows_of(Path(), words, tokens=tokens, length=length).tolist()]


def test_windows_lie_over_the_whole_of_a_text() -> None:
    assert windows(["aabbccddeeff"], 6, 2) == ["bb", "dd", "ff"]
    assert windows(["aabbccddeeffg"], 4, 2) == ["bb", "ee"]
    assert windows(["aabbccdd"], 100, 2) == ["aa", "bb", "cc", "dd"]


def test_what_a_short_text_leaves_goes_to_the_others() -> None:
    assert windows(["aabb", "ccddeeffgghh"], 10, 2) == ["aa", "bb", "dd", "ff", "hh"]
    assert windows(["x", "aabb"], 8, 2) == ["aa", "bb"]


def test_a_single_short_text_is_one_window() -> None:
    assert windows(["abc"], 100, 10) == ["abc"]
    with pytest.raises(UsageError, match="at least 2 of each"):
        windows(["abc"], 100, 1)


def test_short_texts_are_read_one_after_the_other() -> None:
    assert windows(["abc", "ddddeeeeffff", "gh"], 100, 4) == ["dddd", "eeee", "ffff", "abcg"]
    assert windows(["abc", "de"], 100, 10) == ["abcde"]


@pytest.mark.parametrize(("tokens", "found"), [(3, ["def"]), (5, ["efgh"]), (8, ["abcd", "efgh"])])
def test_there_are_never_more_tokens_than_asked_for(tokens: int, found: list[str]) -> None:
    assert windows(["abcdefgh"], tokens, 4) == found


def test_no_window_is_longer_than_the_model_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "longest", lambda _folder: 2)
    assert windows(["abcdef"], 100, 4) == ["ab", "cd", "ef"]


def test_of_a_long_text_passages_over_the_whole_of_it_become_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A book of a thousand chapters, each a character of its own, of which four windows are wanted."""
    read = []

    def tokenize(_folder: Path, text: str) -> Tensor:
        read.append(len(text))
        return torch.tensor([[ord(character) for character in text]])

    monkeypatch.setattr(texts, "tokenize", tokenize)
    book = "".join(chr(1000 + chapter) * 50 for chapter in range(1000))
    chapters = [ord(window[0]) - 1000 for window in windows([book], 40, 10)]
    assert read == [texts.AMPLE * 40]
    assert chapters == pytest.approx([125, 375, 625, 875], abs=2)
    # Nothing changes for a text of just as many characters as are read.
    short = book[: texts.AMPLE * 40]
    assert windows([short], 40, 10) == [short[start : start + 10] for start in (80, 240, 400, 560)]

"""The GPT-2 of the suite is GPT-2: transformers reads it and computes the same."""

import math
from pathlib import Path

import pytest
import torch

from rctheory.suite.experiment import Context, Tier
from verification import gpt, language

SIZE = gpt.Size(width=24, layers=2, heads=3, context=16)
CPU = torch.device("cpu")


def random_gpt() -> gpt.Gpt:
    """Return a GPT-2 whose biases and gains are random too: at initialisation a missing bias would not show."""
    stream = torch.Generator().manual_seed(1)
    start = gpt.initial(SIZE, 0, CPU)
    return gpt.Gpt(SIZE, {name: w + 0.3 * torch.randn(w.shape, generator=stream) for name, w in start.weights.items()})


def test_transformers_computes_the_same_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import GPT2LMHeadModel

    model = random_gpt()
    gpt.save(model, tmp_path)
    theirs, report = GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    symbols = torch.randint(SIZE.symbols, (3, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = theirs.eval()(symbols).logits
        ours = model.logits(symbols)
    assert float(expected.std()) > 1  # not a comparison of zeros
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_saved_files_are_all_that_is_left(tmp_path: Path) -> None:
    gpt.save(random_gpt(), tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_a_symbol_sees_no_later_one() -> None:
    model = random_gpt()
    symbols = torch.randint(SIZE.symbols, (1, 16), generator=torch.Generator().manual_seed(3))
    changed = symbols.clone()
    changed[0, 9] = (changed[0, 9] + 1) % SIZE.symbols
    with torch.no_grad():
        difference = (model.logits(symbols) - model.logits(changed)).abs().amax(dim=-1)[0]
    assert float(difference[:9].max()) <= 1e-4
    assert float(difference[9:].min()) > 1e-3


def test_training_follows_its_seed_and_learns() -> None:
    context = Context(tier=Tier.SMOKE)
    size, schedule = gpt.SMOKE
    trained = gpt.trained_gpt(context)
    assert gpt.trained_gpt(Context(tier=Tier.SMOKE)) is trained
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # sums of two threads are other sums: training must not see how many there are
    try:
        again = gpt.train(gpt.initial_gpt(context), schedule, 0)
        torch.set_num_threads(1)
        single = gpt.train(gpt.initial_gpt(context), schedule, 0)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(single.weights[name], weight) for name, weight in again.weights.items())
    assert all(torch.equal(again.weights[name], weight) for name, weight in trained.weights.items())
    assert gpt.held_out_loss(gpt.initial_gpt(context)) == pytest.approx(math.log(size.symbols), rel=0.05)
    assert gpt.held_out_loss(trained) <= language.unigram_loss(*language.text()) + 0.05

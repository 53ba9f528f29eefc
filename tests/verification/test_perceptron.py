"""The perceptron that is written for `rctheory inspect`: the network itself, as its declaration has it."""

from pathlib import Path

import torch

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.inspection.inspection import inspect_source
from verification.perceptron import perceptrons, save


def test_a_trained_perceptron_is_inspected_with_its_pattern(tmp_path: Path) -> None:
    start, end = perceptrons(width=48, steps=5)
    save(end, tmp_path)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.layout.architecture == "mlp of depth 3"
        torch.testing.assert_close(checkpoint.tensor("weights.2"), end.weights[1][0], rtol=0, atol=0)
    assert not torch.equal(start.weights[1], end.weights[1])
    found = inspect_source(str(tmp_path), statistics=["correlations"]).outcome("correlations")
    assert found is not None
    assert "same neuron, raw" in {row.part for row in found.rows if row.pattern == "weights.1 / weights.2"}

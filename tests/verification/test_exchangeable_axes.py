"""The planted error of the control is what it says."""

from pathlib import Path

import torch

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.inspection.inspection import ignore_progress
from rctheory.inspection.norms import collect_norms
from rctheory.suite.experiment import Context, Tier
from tests.checkpoints.folders import save_folder, tiny_weights
from verification.exchangeable_axes import EXPERIMENT, SORTED_AXIS, SORTED_ROWS


def test_sorting_rows_sorts_their_norms_and_leaves_every_other_norm(tmp_path: Path) -> None:
    weights = tiny_weights()
    name = "model.layers.0.mlp.gate_proj.weight"
    gathered = []
    for folder in ("plain", "sorted"):
        with open_checkpoint(save_folder(tmp_path / folder, weights)) as checkpoint:
            gathered.append(collect_norms(checkpoint, ignore_progress))
        weights[name] = weights[name][weights[name].norm(dim=1).argsort()]
    plain, planted = gathered
    assert torch.allclose(planted[name, 0], plain[name, 0].sort().values, atol=1e-6)
    others = set(plain) - {(name, 0)}
    assert all(torch.allclose(planted[key], plain[key], atol=1e-6) for key in others)


def test_the_control_changes_one_p_value_alone() -> None:
    """The control reads the model no second time and differs from the experiment in the broken axis only."""
    context = Context(tier=Tier.SMOKE)
    honest, broken = EXPERIMENT.run(context).quantities, SORTED_ROWS.run(context).quantities
    assert honest["ordered"] == broken["ordered"]
    before, after = honest["exchangeable"].values, broken["exchangeable"].values
    assert {axis for axis in before if before[axis] != after[axis]} == {SORTED_AXIS}
    assert after[SORTED_AXIS] == 1 / 5000

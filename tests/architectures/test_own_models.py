"""The declarations of networks that are no model of transformers: perceptrons and convolutional networks."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.sources import open_checkpoint
from tests.architectures.models import randomise, save_state
from tests.architectures.relabel import relabel_stored


class ResidualPerceptron(nn.Module):
    """A stream of width 6 in two layers of 5 hidden units."""

    def __init__(self, bias: bool) -> None:
        """Make the maps."""
        super().__init__()
        self.embed, self.unembed = nn.Linear(3, 6, bias=bias), nn.Linear(6, 2, bias=bias)
        layer = {"read": nn.Linear(6, 5, bias=bias), "write": nn.Linear(5, 6, bias=bias)}
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(m.in_features, m.out_features, bias=bias) for name, m in layer.items()})
            for _ in range(2)
        )

    def forward(self, u: Tensor) -> Tensor:
        """Return the outputs."""
        x = self.embed(u)
        for layer in self.layers:
            x = x + layer["write"](torch.tanh(layer["read"](x)))
        return self.unembed(x)


def perceptron(bias: bool) -> nn.Module:
    """Return a sequence of three linear maps."""
    first, second, third = (nn.Linear(n, m, bias=bias) for n, m in pairwise([3, 8, 5, 2]))
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third)


def convolutions(bias: bool) -> nn.Module:
    """Return two convolutions with norms, and a linear map of the 2 x 2 pixels that are left of 6 x 6."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=bias),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Conv2d(4, 5, 3, bias=bias),
        nn.BatchNorm2d(5),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(20, 3, bias=bias),
    )


MODELS = {
    "mlp": (perceptron, (3,), {"widths": [3, 8, 5, 2], "modules": ["0", "2", "4"]}, 3),
    "residual_mlp": (ResidualPerceptron, (3,), {"input": 3, "residual": 6, "ffn": 5, "output": 2, "layers": 2}, 6),
    "convnet": (
        convolutions,
        (2, 6, 6),
        {
            "channels": [2, 4, 5],
            "kernel": 3,
            "pixels": 4,
            "output": 3,
            "modules": ["0", "3", "7"],
            "norms": ["1", "4"],
        },
        3,
    ),
}


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("name", MODELS)
def test_a_network_has_the_declared_tensors_and_symmetry(name: str, bias: bool, tmp_path: Path) -> None:
    build, shape, config, matrices = MODELS[name]
    config = {"model_type": name, **config}
    model = randomise(build(bias))
    state = model.state_dict()
    with open_checkpoint(save_state(tmp_path, config, state)) as checkpoint:
        layout = checkpoint.layout
        assert sum(t.endswith(".bias") or "biases" in t for t in layout.tensors) == (
            matrices * bias + (2 if name == "convnet" else 0)
        )
        assert set(layout.stored_shapes(Naming.TRANSFORMERS)) == set(state) - layout.buffers
        for tensor in layout.tensors.values():
            read = checkpoint.tensor(tensor.name)
            assert torch.equal(read, state[tensor.stored.names[0]].float())
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    before = model(x)
    for axis, instance in layout.axes.items():
        changed = {key: value.clone() for key, value in state.items()}
        relabel_stored(layout, changed, axis, torch.Generator().manual_seed(6))
        difference = (before - functional_call(model, changed, (x,))).abs().max()
        assert (difference <= 1e-10) == instance.axis.exchangeable, axis
        assert instance.axis.exchangeable or difference > 1e-3, axis


def test_a_perceptron_may_store_its_own_names(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    state = {"weights.1": torch.randn(4, 3, generator=random), "weights.2": torch.randn(2, 4, generator=random)}
    config = {"model_type": "mlp", "widths": [3, 4, 2]}
    with open_checkpoint(save_state(tmp_path, config, state)) as checkpoint:
        assert torch.equal(checkpoint.tensor("weights.2"), state["weights.2"])
    assert layout_of(config).tensors["weights.2"].shape == (2, 4)

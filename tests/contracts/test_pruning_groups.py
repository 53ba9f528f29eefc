"""An independent oracle of axes: the dependency graph of Torch-Pruning, traced from the model alone.

Removing one unit of an axis must remove entries from exactly those tensor dimensions that touch it as declared.
"""

from collections.abc import Mapping

import pytest
import torch
import torch_pruning
from torch import nn

from rctheory.contracts import Subject
from rctheory.contracts.huggingface import run_language_model
from tests.contracts.subjects import convnet, family, mlp

Axes = Mapping[str, tuple[str, int]]
CASES: dict[str, tuple[Subject, Axes]] = {
    # An axis, and a module that writes it with the dimension of its weight.
    "mlp": (mlp(), {"hidden.1": ("0", 0), "hidden.2": ("2", 0)}),
    "convnet": (convnet(), {"channel.1": ("0", 0), "channel.2": ("3", 0)}),
    "llama": (
        family("llama"),
        {
            "layers.0.ffn": ("model.layers.0.mlp.gate_proj", 0),
            "layers.1.ffn": ("model.layers.1.mlp.up_proj", 0),
            "residual": ("model.layers.0.mlp.down_proj", 0),
        },
    ),
}


def pruned_dimensions(subject: Subject, module_name: str) -> set[tuple[str, int]]:
    """Return the stored tensor dimensions that shrink when the first output of a module is removed."""
    module = subject.build(subject.config).float()
    before = {name: tensor.shape for name, tensor in module.state_dict().items()}
    gains = [(m, 0) for m in module.modules() if type(m).__name__.endswith("RMSNorm")]
    graph = torch_pruning.DependencyGraph().build_dependency(
        module,
        example_inputs=subject.inputs if subject.inputs.dtype is torch.int64 else subject.inputs.float(),
        forward_fn=lambda m, x: run_language_model(m, x) if hasattr(m, "config") else m(x),
        unwrapped_parameters=[(m.weight, place) for m, place in gains],
        verbose=False,
    )
    part: nn.Module = module.get_submodule(module_name)
    kind = "conv" if isinstance(part, nn.Conv2d) else "linear"
    prune = getattr(torch_pruning, f"prune_{kind}_out_channels")
    graph.get_pruning_group(part, prune, idxs=[0]).prune()
    after = {name: tensor.shape for name, tensor in module.state_dict().items()}
    return {
        (name, dimension)
        for name, shape in before.items()
        for dimension in range(len(shape))
        if after[name][dimension] != shape[dimension]
    }


def declared_dimensions(subject: Subject, axis: str) -> set[tuple[str, int]]:
    """Return the stored tensor dimensions that touch an axis."""
    layout = subject.source.layout
    return {(layout.tensors[t.tensor].stored.names[0], t.dimension) for t in layout.touches(axis)}


@pytest.mark.filterwarnings("ignore")  # of the tracer, about what it does not trace
@pytest.mark.parametrize(("name", "axis"), [(name, axis) for name, (_, axes) in CASES.items() for axis in axes])
def test_pruning_removes_the_declared_dimensions(name: str, axis: str) -> None:
    subject, axes = CASES[name]
    assert pruned_dimensions(subject, axes[axis][0]) == declared_dimensions(subject, axis)


@pytest.mark.filterwarnings("ignore")
def test_the_group_of_another_axis_differs() -> None:
    subject = CASES["mlp"][0]
    assert pruned_dimensions(subject, "0") != declared_dimensions(subject, "hidden.2")

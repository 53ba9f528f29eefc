"""State and rates of an optimiser: against what autograd finds in the wider model of every family."""

import json

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from rctheory.architectures.layout import Layout
from rctheory.architectures.mlp import mlp
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import gather
from rctheory.errors import ShapeError, UsageError
from rctheory.transfer.operator import Operator
from rctheory.transfer.optimizer_state import gradient_factors, rates, transfer_state, weight_factors
from rctheory.transfer.transfer_plan import draw_transfer
from rctheory.transfer.units import AxisPlan
from tests.architectures.models import FAMILIES, VOCABULARY, KeepFloat64, build, stored_model
from tests.architectures.relabel import declared
from tests.transfer.test_widen import GROWN, into_stored

# In memory transformers stacks the experts of Mixtral, so that its parameters are not the stored tensors.
NAMED_AS_STORED = [name for name in FAMILIES if name != "mixtral"]


def gradients(name: str, config: dict, layout: Layout, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of a loss in every declared tensor."""
    model = build(FAMILIES[name].model, config)
    for module in model.modules():
        if hasattr(module, "embed_scale"):  # Gemma's root of the width, in float32
            module.embed_scale = torch.tensor(config["hidden_size"], dtype=torch.float64).sqrt()
    stored = {key: tensor.requires_grad_() for key, tensor in into_stored(layout, weights).items()}
    random = torch.Generator().manual_seed(7)
    tokens, wanted = (torch.randint(VOCABULARY, (2, 6), generator=random) for _ in range(2))
    with KeepFloat64():
        # The head of GPT-NeoX has another name in memory.
        named = {key.replace("embed_out", "lm_head"): tensor for key, tensor in stored.items()}
        output = functional_call(model, named, kwargs={"input_ids": tokens})
        logits = output.prediction_logits if "prediction_logits" in output else output.logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        if "seq_relationship_logits" in output:
            loss = loss + output.seq_relationship_logits.square().sum()
        loss.backward()
    found = {key: tensor.grad for key, tensor in stored.items()}
    return {key: gather(found, layout.place(key, Naming.TRANSFORMERS)) for key in layout.tensors}


@pytest.mark.parametrize("name", NAMED_AS_STORED)
def test_gradients_of_the_wider_model_are_those_of_the_rule(name: str) -> None:
    state, config, _ = stored_model(name)
    layout = layout_of(json.loads(config)).found_in(state)
    plan = draw_transfer(layout, {k: v for k, v in GROWN[name].items() if layout.sizes[k] != v}, seed=3)
    operator = plan.operator(layout)
    weights = declared(layout, state)
    wide_config = operator.configure(json.loads(config), plan.targets)
    wider = layout_of(wide_config).found_in(state)
    narrow = gradients(name, json.loads(config), layout, weights)
    wide = gradients(name, wide_config, wider, {k: operator.apply(k, w.clone()) for k, w in weights.items()})
    expected = transfer_state(operator, {k: {"exp_avg": g, "exp_avg_sq": g.square()} for k, g in narrow.items()})
    size = max(float(g.abs().max()) for g in narrow.values())
    for key, found in wide.items():
        assert (found - expected[key]["exp_avg"]).abs().max() <= 1e-10 * size, key
        assert (found.square() - expected[key]["exp_avg_sq"]).abs().max() <= 1e-10 * size**2, key


@pytest.mark.parametrize("name", NAMED_AS_STORED)
def test_weights_are_the_factor_times_their_source(name: str) -> None:
    """alpha, found by moving the source a little: of a gain with an offset too."""
    state, config, _ = stored_model(name)
    layout = layout_of(json.loads(config)).found_in(state)
    operator = draw_transfer(layout, GROWN[name], seed=3).operator(layout)
    alphas = weight_factors(operator)
    for key, weight in declared(layout, state).items():
        step = torch.ones_like(weight)
        moved = operator.apply(key, weight + step) - operator.apply(key, weight.clone())
        torch.testing.assert_close(moved, alphas[key].expand_as(moved), rtol=1e-9, atol=1e-9)


def test_equal_copies_need_one_rate_for_each_tensor() -> None:
    layout = layout_of(FAMILIES["llama 3.1 tied"].small)
    operator = draw_transfer(layout, {"residual": 32, "group": 4, "ffn": 30}).operator(layout)
    embedding, down, final = "model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight", "model.norm.weight"
    gd, adam = rates(operator, "gd"), rates(operator, "adam")
    for settings in (*gd.values(), *adam.values()):
        assert settings.learning_rate.numel() == settings.epsilon.numel() == settings.decay.numel() == 1
    assert float(gd[embedding].learning_rate) == 2
    assert float(gd[down].learning_rate) == pytest.approx(2 / 3)  # alpha = 1/3, with 3 x 2 copies
    assert float(gd[final].learning_rate) == pytest.approx(1 / 2)  # the gain of a tied head: alpha = 1/2
    assert float(adam[down].learning_rate) == pytest.approx(1 / 3)
    assert float(adam[down].epsilon) == pytest.approx(1 / 2)  # rho = 1 / (alpha C)
    assert float(adam[down].decay) == pytest.approx(3)


def test_a_stream_grown_by_a_part_writes_at_one_rate() -> None:
    """s_i^2 m_i is the same for all units: unequal copies of a stream under RMSNorm move at one rate."""
    layout = layout_of(FAMILIES["llama"].small)
    operator = draw_transfer(layout, {"residual": 20}).operator(layout)
    gd = rates(operator, "gd")
    assert float(gd["model.embed_tokens.weight"].learning_rate) == pytest.approx(20 / 16)
    reads = gd["model.layers.1.mlp.up_proj.weight"].learning_rate
    assert tuple(reads.shape) == (1, 20)
    assert set(reads.flatten().tolist()) == {1.0, 0.5}


def test_a_sample_is_carried_as_in_the_limit() -> None:
    layout = mlp(2).layout({"input": 2, "hidden.1": 6, "output": 1})
    operator = Operator(layout, {"hidden.1": AxisPlan(6, torch.tensor([4, 0, 2]), exact=False)})
    rho = gradient_factors(operator)
    assert float(rho["weights.1"]) == 2  # one unit of the target stands for half of one of the source
    assert float(rho["weights.2"]) == 1


def test_refusals() -> None:
    layout = layout_of(FAMILIES["gpt2"].small)
    operator = draw_transfer(layout, {"ffn": 15}).operator(layout)
    name = "transformer.h.0.mlp.c_fc.bias"
    with pytest.raises(UsageError, match="optimizer 'muon'; expected one of gd, adam"):
        rates(operator, "muon")
    with pytest.raises(UsageError, match=f"state 'hessian' of {name}"):
        transfer_state(operator, {name: {"hessian": torch.ones(10)}})
    with pytest.raises(ShapeError, match=rf"exp_avg of {name} of shape \(9,\); expected \(10,\)"):
        transfer_state(operator, {name: {"exp_avg": torch.ones(9)}})
    with pytest.raises(ShapeError, match="the state of 'lm_head'"):
        transfer_state(operator, {"lm_head": {}})
    by_means = draw_transfer(layout, {"residual": 16}).operator(layout)
    with pytest.raises(ShapeError, match=r"units of axis residual that carry the mean .* choose a multiple of 12"):
        gradient_factors(by_means)


def test_steps_are_copied_and_buffers_scaled() -> None:
    layout = mlp(2).layout({"input": 2, "hidden.1": 2, "output": 1})
    operator = Operator(layout, {"hidden.1": AxisPlan(2, torch.tensor([1, 0, 1]), exact=True)})
    state = {"weights.1": {"step": torch.tensor(7.0), "momentum_buffer": torch.tensor([[2.0, 4.0], [6.0, 8.0]])}}
    carried = transfer_state(operator, state)["weights.1"]
    assert float(carried["step"]) == 7
    assert torch.equal(carried["momentum_buffer"], torch.tensor([[3.0, 4.0], [2.0, 4.0], [3.0, 4.0]]))

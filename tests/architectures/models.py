"""Tiny models of every declared architecture, built locally, with random weights in float64."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rctheory.contracts.huggingface import KeepFloat64

VOCABULARY, POSITIONS = 11, 9


@dataclass(frozen=True)
class Family:
    """One architecture: its model class in transformers, and configurations at two sizes."""

    model: str
    small: dict[str, Any]
    changes: dict[str, Any]

    @property
    def large(self) -> dict[str, Any]:
        """Return the configuration in which every width differs."""
        return self.small | self.changes


GPT2 = {"model_type": "gpt2", "vocab_size": VOCABULARY, "n_positions": POSITIONS, "n_layer": 2}
BERT = {
    "model_type": "bert",
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 3,
    "num_hidden_layers": 2,
    "hidden_size": 12,
    "num_attention_heads": 3,
    "intermediate_size": 10,
}
LARGE_BERT = {"hidden_size": 20, "num_attention_heads": 4, "intermediate_size": 14, "num_hidden_layers": 1}

LLAMA = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 10,
    "max_position_embeddings": POSITIONS,
}
LARGE_LLAMA = {
    "hidden_size": 24,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 14,
    "num_hidden_layers": 1,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 4,
}
NEOX = {
    "model_type": "gpt_neox",
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 2,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 10,
    "max_position_embeddings": POSITIONS,
    "rotary_pct": 0.5,
}
LARGE_NEOX = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 14, "num_hidden_layers": 1}

FAMILIES = {
    "gpt2": Family(
        "GPT2LMHeadModel",
        GPT2 | {"n_embd": 12, "n_head": 3, "n_inner": 10},
        {"n_embd": 20, "n_head": 4, "n_inner": None, "n_layer": 1},
    ),
    "gpt2 untied": Family(
        "GPT2LMHeadModel",
        GPT2 | {"n_embd": 12, "n_head": 3, "tie_word_embeddings": False},
        {"n_embd": 20, "n_head": 4},
    ),
    "bert": Family("BertForPreTraining", BERT, LARGE_BERT),
    "bert untied": Family("BertForPreTraining", BERT | {"tie_word_embeddings": False}, LARGE_BERT),
    "llama": Family("LlamaForCausalLM", LLAMA | {"attention_bias": True, "mlp_bias": True}, LARGE_LLAMA),
    "llama 3.1 tied": Family(
        "LlamaForCausalLM", LLAMA | {"tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE}, LARGE_LLAMA
    ),
    "mistral": Family("MistralForCausalLM", LLAMA | {"model_type": "mistral", "head_dim": 6}, LARGE_LLAMA),
    "qwen2": Family("Qwen2ForCausalLM", LLAMA | {"model_type": "qwen2"}, LARGE_LLAMA),
    "qwen3": Family("Qwen3ForCausalLM", LLAMA | {"model_type": "qwen3", "head_dim": 6}, LARGE_LLAMA | {"head_dim": 8}),
    "gemma": Family("GemmaForCausalLM", LLAMA | {"model_type": "gemma", "head_dim": 6}, LARGE_LLAMA),
    "mixtral": Family(
        "MixtralForCausalLM",
        LLAMA | {"model_type": "mixtral", "num_local_experts": 3},
        LARGE_LLAMA | {"num_local_experts": 4},
    ),
    "gpt_neox": Family("GPTNeoXForCausalLM", NEOX, LARGE_NEOX),
    "gpt_neox all rotary": Family(
        "GPTNeoXForCausalLM", NEOX | {"rotary_pct": 1.0, "use_parallel_residual": False}, LARGE_NEOX
    ),
    "gpt_neox unbiased": Family(
        "GPTNeoXForCausalLM",
        NEOX | {"attention_bias": False, "tie_word_embeddings": True, "rotary_pct": 0.25},
        LARGE_NEOX,
    ),
}


@cache
def tiny_model(name: str, *, large: bool = False) -> nn.Module:
    """Build the model of a family, with random weights."""
    family = FAMILIES[name]
    return build(family.model, family.large if large else family.small)


def build(model: str, config: dict[str, Any]) -> nn.Module:
    """Build a model of transformers with random weights; nothing is fetched."""
    import transformers

    entries = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None} | config
    of_model = transformers.AutoConfig.for_model(entries.pop("model_type"), **entries)
    of_model._attn_implementation, of_model._experts_implementation = "sdpa", "eager"  # both work in float64
    return randomise(getattr(transformers, model)(of_model))


def randomise(model: nn.Module) -> nn.Module:
    """Draw every parameter and running moment: gains about one, everything else about zero."""
    random = torch.Generator().manual_seed(0)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 1.0 if bool((parameter == 1).all()) else 0.0
            parameter.copy_(centre + 0.5 * torch.randn(parameter.shape, generator=random, dtype=torch.float64))
        for name, moment in model.named_buffers():
            if "running" in name:
                moment.copy_(0.5 + torch.rand(moment.shape, generator=random, dtype=torch.float64))
    return model


def logits(model: nn.Module) -> Tensor:
    """Return everything that a model says of two fixed sequences, as one vector."""
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCABULARY, (2, POSITIONS), generator=random)
    inputs = {"input_ids": tokens}
    if hasattr(model.config, "type_vocab_size"):
        inputs["token_type_ids"] = torch.randint(model.config.type_vocab_size, tokens.shape, generator=random)
    with torch.no_grad(), KeepFloat64():
        output = model(**inputs)
    return torch.cat([value.flatten() for key, value in output.items() if key.endswith("logits")])


def save(model: nn.Module, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Save a model as transformers does."""
    model.to(dtype).save_pretrained(folder)
    model.double()
    return folder


@cache
def stored_model(name: str) -> tuple[dict[str, Tensor], str, Tensor]:
    """Return what transformers stores of a model in float64, its configuration, and its outputs when loaded again."""
    with TemporaryDirectory() as folder:
        path = save(tiny_model(name), Path(folder), torch.float64)
        state, config = load_file(path / "model.safetensors"), (path / "config.json").read_text()
        return state, config, logits(load(name, path))


def load(name: str, folder: Path) -> nn.Module:
    """Load a model of a family in float64 as transformers does; every weight must be there, and none too many."""
    import transformers

    cls = getattr(transformers, FAMILIES[name].model)
    model, report = cls.from_pretrained(
        folder,
        dtype=torch.float64,
        attn_implementation="sdpa",
        experts_implementation="eager",
        output_loading_info=True,
    )
    assert not any(report.values()), report
    return model.eval()


def save_state(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Path:
    """Save a state dict with a configuration of our own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return folder

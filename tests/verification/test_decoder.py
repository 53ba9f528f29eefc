"""The plain Llama of the suite against that of transformers."""

import torch
from torch.func import functional_call

from tests.architectures.models import KeepFloat64, build
from verification.decoder import EPSILON, decoder_loss, initial_decoder

CONFIG = {
    "model_type": "mistral",
    "vocab_size": 13,
    "hidden_size": 18,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "tie_word_embeddings": True,
}


def test_it_is_a_model_of_transformers() -> None:
    weights = {key: tensor.double() for key, tensor in initial_decoder(CONFIG, 0).items()}
    rope = {"rope_type": "default", "rope_theta": 100.0}
    model = build("MistralForCausalLM", CONFIG | {"rms_norm_eps": EPSILON, "rope_parameters": rope})
    windows = torch.randint(13, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), KeepFloat64():
        want = functional_call(model, weights, kwargs={"input_ids": windows[:, :-1]}).logits
    loss = torch.nn.functional.cross_entropy(want.flatten(0, 1), windows[:, 1:].flatten())
    assert abs(float(decoder_loss(CONFIG, weights, windows)) - float(loss)) <= 1e-6  # its angles are in float32

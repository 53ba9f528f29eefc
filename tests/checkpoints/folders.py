"""Small Llama checkpoints, written locally: Hugging Face folders of any dtype and number of shards, and GGUF files."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from rctheory.architectures.registry import layout_of

CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 96,
    "num_hidden_layers": 2,
    "tie_word_embeddings": False,
}
LAYOUT = layout_of(CONFIG)


def tiny_weights(seed: int = 0) -> dict[str, Tensor]:
    """Draw the weights of the small model; exact in bfloat16, so that every format stores the same values."""
    random = torch.Generator().manual_seed(seed)
    return {n: torch.randn(t.shape, generator=random).bfloat16().float() for n, t in LAYOUT.tensors.items()}


def save_folder(
    folder: Path, weights: dict[str, Tensor], *, dtype: torch.dtype = torch.float32, shards: int = 1
) -> Path:
    """Write `config.json` and safetensors, with an index when there are several shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    cast = {name: tensor.to(dtype) for name, tensor in weights.items()}
    if shards == 1:
        save_file(cast, folder / "model.safetensors")
        return folder
    files = {name: f"model-{k % shards + 1:05d}-of-{shards:05d}.safetensors" for k, name in enumerate(cast)}
    for file in sorted(set(files.values())):
        save_file({name: tensor for name, tensor in cast.items() if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def save_torch(folder: Path, weights: dict[str, Tensor], *, shards: int = 1) -> Path:
    """Write `config.json` and PyTorch files, with an index when there are several shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    if shards == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return folder
    files = {name: f"pytorch_model-{k % shards + 1:05d}-of-{shards:05d}.bin" for k, name in enumerate(weights)}
    for file in sorted(set(files.values())):
        torch.save({name: tensor for name, tensor in weights.items() if files[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def interleave(rows: Tensor, heads: int) -> Tensor:
    """Reorder rows as the GGUF converter of llama.cpp does."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def save_gguf(
    path: Path, weights: dict[str, Tensor], kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32
) -> Path:
    """Write a GGUF file with the converter's names and order of rotary rows; vectors stay in float32."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_vocab_size(CONFIG["vocab_size"])
    writer.add_token_list([f"<{k}>" for k in range(CONFIG["vocab_size"])])
    for name, tensor in weights.items():
        heads = {"q_proj": CONFIG["num_attention_heads"], "k_proj": CONFIG["num_key_value_heads"]}
        part = name.split(".")[-2]
        rows = interleave(tensor, heads[part]) if part in heads else tensor
        stored = np.ascontiguousarray(rows.numpy())
        if tensor.dim() == 1:
            writer.add_tensor(LAYOUT.tensors[name].gguf.names[0], stored)
        else:
            writer.add_tensor(LAYOUT.tensors[name].gguf.names[0], gguf.quantize(stored, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

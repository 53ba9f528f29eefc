"""Lazy readers of checkpoints: safetensors folders and GGUF files, one block of rows at a time."""

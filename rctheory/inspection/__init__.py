"""Statistics over a checkpoint, axis by axis, streamed."""

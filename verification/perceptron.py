"""A mean-field perceptron that learns digits, as a folder that `rctheory inspect` reads: at step 0 and trained."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from rctheory.dynamics import CROSS_ENTROPY, Network, train
from verification.digits import ansatz, digits
from verification.fit_training import GAIN, RESIDUAL, STEP
from verification.signature_laws import batches, one_hot

WIDTH, STEPS = 512, 200


def perceptrons(width: int = WIDTH, steps: int = STEPS, seed: int = 0) -> tuple[Network, Network]:
    """Return the network of claim `fit.training` before and after training; its weights are (1, rows, columns)."""
    data, _ = digits()
    start = ansatz(gain=GAIN, residual=RESIDUAL).sample((width, width), [seed], root=0, dtype=torch.float32)
    picks = batches(len(data.x), 0, steps)
    end = train(start, data.x, one_hot(data.labels), step=STEP, steps=steps, loss=CROSS_ENTROPY, batches=picks)
    return start, end


def save(network: Network, folder: Path) -> None:
    """Write `config.json` of the declared perceptron and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    matrices = [weight[0].float().cpu().contiguous() for weight in network.weights]
    widths = [matrices[0].shape[1], *(len(matrix) for matrix in matrices)]
    save_file({f"weights.{k}": matrix for k, matrix in enumerate(matrices, start=1)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "mlp", "widths": widths}, indent=1))


def main() -> None:
    """Train and write: `python -m verification.perceptron FOLDER`."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m verification.perceptron FOLDER")
    folder = Path(sys.argv[1])
    for name, network in zip(("step-0", "trained"), perceptrons(), strict=True):
        save(network, folder / name)
    print(f"{folder}/trained, and {folder}/step-0 beside it")


if __name__ == "__main__":
    main()

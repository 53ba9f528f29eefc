"""How much the loss feels an error of the stream: its metric after every layer, from backward passes of the source.

An error e of the stream that leaves layer l moves the predictions by the Kullback-Leibler divergence e' F e / 2 to
leading order, with the Fisher information F = E[s s'], s the gradient of -log p(y) in the stream when the label y is
drawn from the model itself. Its mean A_l over tokens says which directions of the stream matter: units are chosen by
what they write in this metric, |A^(1/2) x|^2 = x' A x, instead of by plain squares, where the few directions of largest
variance decide. The refitted weights do not depend on it: least squares treats every direction for itself.
Source: Fisher information as in `prediction.influence`; one factor of its Kronecker form, arXiv 1503.05671.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rctheory.errors import NumericsError
from rctheory.numerics import generator, native_products
from rctheory.transfer.layers import LayeredModel

Report = Callable[[int, int], None]

FLOOR = 1e-3  # of the mean eigenvalue: directions that no gradient has shown count a little


def measure_metrics(
    model: LayeredModel, windows: Tensor, *, seed: int = 0, report_progress: Report = lambda _done, _all: None
) -> list[Tensor]:
    """Return A_l^(1/2) of the stream after every layer, each (D, D) float64, scaled to a mean square of 1.

    Cost: one forward and one backward pass a window; the stream of one window after every layer is kept meanwhile.

    Args:
        model: the source.
        windows: tokens (N, T).
        seed: root of the draws of labels.
        report_progress: takes windows done and all windows.

    Raises:
        NumericsError: a gradient that is not finite, or none at all.
    """
    sums: list[Tensor] = []
    like: Tensor = next(model.model.parameters())
    for number, window in enumerate(windows):
        with native_products(like):
            streams, logits = model.streams(window[None])
        log_p = logits[0].to(like).log_softmax(dim=-1)
        # An exponential race: label y with probability p_y, and no cumulative sums over the vocabulary.
        race = torch.empty_like(log_p).exponential_(generator=generator(seed, "sensitivity", "labels", number))
        labels = (log_p.detach().exp() / race).argmax(dim=-1, keepdim=True)
        slopes = torch.autograd.grad(-log_p.gather(1, labels).sum(), streams)
        squares = [(s[0].T @ s[0]).double() for s in slopes]
        sums = squares if not sums else [a + b for a, b in zip(sums, squares, strict=True)]
        report_progress(number + 1, len(windows))
    return [_root(matrix) for matrix in sums]


def _root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root of a metric with its floor, scaled to a mean eigenvalue of 1."""
    mean = matrix.diagonal().mean()
    if not bool(torch.isfinite(matrix).all()) or not float(mean) > 0:
        found = "gradients of the stream that are not finite, or all zero"
        raise NumericsError(found, "finite ones", "check weights and text")
    values, vectors = torch.linalg.eigh(matrix / mean)
    root: Tensor = (vectors * (values.clamp(min=0) + FLOOR).sqrt()) @ vectors.T
    return root

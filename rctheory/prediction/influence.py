"""The influence of every unit of a trained model on its loss: derivatives in the masses, from backward passes alone.

At masses p = 1 the loss of a window of T tokens has the gradient g, which one backward pass gives for all units of all
axes. Its Hessian is, for a model that predicts as well as it believes to, the Fisher information

    H = T E[s s'],   s = gradient of the mean loss when the labels are drawn from the model itself,

because labels of different places are drawn independently. So further backward passes, one for each draw of labels,
give the second order of every axis at once, with no product between different axes.
Source: Fisher information as the Gauss-Newton part of the Hessian, arXiv 1412.1193.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rctheory.errors import NumericsError
from rctheory.numerics import generator
from rctheory.prediction.masses import MassedModel

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Influence:
    """Derivatives of the loss in the masses, window by window.

    Args:
        losses: mean loss of each window, (B,) float64, in nats for each token.
        tokens: number T of tokens that each window predicts.
        gradients: by axis instance, the gradient of the mean loss of each window, (B, n) float64.
        scores: by axis instance, the same with labels drawn from the model: (B, K, n) float64.
        removals: by axis instance and unit, the change of the mean loss when that unit alone is left out; of the units
            whose absence no derivative at 1 describes (`prediction.removals`).
    """

    losses: Tensor
    tokens: int
    gradients: Mapping[str, Tensor]
    scores: Mapping[str, Tensor]
    removals: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Return the mean loss."""
        return float(self.losses.mean())


def measure_influence(
    model: MassedModel,
    windows: Tensor,
    *,
    draws: int = 2,
    seed: int = 0,
    report_progress: Report = lambda _done, _all: None,
) -> Influence:
    """Measure the influence of all units on a text. Cost: one forward and 1 + `draws` backward passes a window.

    Args:
        model: the source; its masses are those of the axes that it was made for.
        windows: token ids (B, T + 1).
        draws: how often labels are drawn for the second order; 0 leaves it out.
        seed: root of these draws.
        report_progress: takes windows done and all windows.

    Raises:
        NumericsError: a loss or a derivative that is not finite.
    """
    losses, gradients, scores = [], [], []
    for number, window in enumerate(windows):
        loss, slope, sampled = _of_window(model, window[None], draws, generator(seed, "influence", "labels", number))
        losses.append(loss)
        gradients.append(slope)
        scores.append(sampled)
        report_progress(number + 1, len(windows))
    by_axis = {axis: torch.stack([slope[axis] for slope in gradients]) for axis in model.sizes}
    second = {axis: torch.stack([sampled[axis] for sampled in scores]) for axis in model.sizes}
    for what in (torch.tensor(losses), *by_axis.values(), *second.values()):
        if not bool(torch.isfinite(what).all()):
            raise NumericsError("a loss or an influence that is not finite", "finite ones", "check weights and text")
    return Influence(torch.tensor(losses, dtype=torch.float64), windows.shape[1] - 1, by_axis, second)


def _of_window(
    model: MassedModel, window: Tensor, draws: int, stream: torch.Generator
) -> tuple[float, dict[str, Tensor], dict[str, Tensor]]:
    """Return loss, gradient and scores (K, n) of one window, from one forward pass."""
    masses = {axis: torch.ones(n, dtype=torch.float64, requires_grad=True) for axis, n in model.sizes.items()}
    log_p = model.logits(window, masses)[0, :-1].log_softmax(dim=-1)
    loss = _mean_loss(log_p, window[0, 1:])
    probabilities = log_p.detach().exp() if draws else log_p.detach()
    found = []
    for draw in range(draws + 1):
        if draw:
            # An exponential race: label y with probability p_y, and no cumulative sums over the vocabulary.
            race = torch.empty_like(probabilities).exponential_(generator=stream)
            target = _mean_loss(log_p, (probabilities / race).argmax(dim=-1))
        else:
            target = loss
        found.append(torch.autograd.grad(target, list(masses.values()), retain_graph=draw < draws))
    named = [dict(zip(masses, parts, strict=True)) for parts in found]
    scores = {
        axis: torch.stack([part[axis] for part in named[1:]]) if draws else torch.zeros(0, n, dtype=torch.float64)
        for axis, n in model.sizes.items()
    }
    return float(loss.detach()), named[0], scores


def _mean_loss(log_p: Tensor, labels: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of labels (T,)."""
    return -log_p.gather(1, labels[:, None]).mean()

"""Least-squares compensation: weights that read the units that are left, fitted to what all of them brought about."""

import torch
from torch import Tensor

from rctheory.errors import LawError, ShapeError


def compensate(kept: Tensor, targets: Tensor, prior: Tensor, ridge: float = 1e-6) -> Tensor:
    """Return the weights V that read the kept units so that what they bring about is closest to what all units did.

        min_V |A V - Y|^2 + r |V - V_0|^2,  r = ridge tr(A^T A) / m

    Applied layer by layer, A is what the kept units do on the already compressed stream, Y what was read on the
    original one. Weights V_0 that a sampling rule would use are the answer where the inputs tell nothing. No gradient
    through the model is needed. Solved in float64; cost B m^2 + m^3.

    Args:
        kept: A, activations of the m kept units on B calibration inputs, (B, m).
        targets: Y, (B, o).
        prior: V_0, (m, o).
        ridge: positive.

    Returns:
        V, (m, o), in the dtype of the prior.

    Raises:
        ShapeError: shapes that do not agree.
        LawError: a ridge that is not positive and finite.

    Source: ridge regression; as in He, Zhang and Sun (2017), Channel pruning.
    """
    if not 0 < ridge < float("inf"):
        raise LawError(f"ridge {ridge}", "a positive finite number", "use 1e-6")
    if kept.ndim != 2 or prior.shape != (kept.shape[1], targets.shape[-1]) or targets.shape[:-1] != kept.shape[:1]:
        found = f"activations {tuple(kept.shape)}, targets {tuple(targets.shape)}, weights {tuple(prior.shape)}"
        raise ShapeError(found, "(B, m), (B, o) and (m, o)", "take the same inputs and units for all three")
    a, y, v = (part.to(torch.float64) for part in (kept, targets, prior))
    gram = a.T @ a
    gram.diagonal().add_(ridge * float(gram.diagonal().mean()) or 1.0)  # units that are silent leave the prior alone
    fitted: Tensor = v + torch.linalg.solve(gram, a.T @ (y - a @ v))
    return fitted.to(prior.dtype)

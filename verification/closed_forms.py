"""The closed forms of the claims `closure.*` and their planted errors: W(T) as an explicit sum over the history."""

from functools import partial

import torch
from torch import Tensor

from rctheory.dynamics.optimizers import Adam, Clip, Decay, Momentum, Muon, RMSProp, Sign
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.closures import STEP, STEPS, Case, Closed, History, run

BETA, DECAY, LIMIT = 0.8, 0.5, 0.05
B1, B2, EPS = 0.7, 0.9, 1e-6


def _momentum(start: Tensor, history: History, *, forgets: bool = False) -> Tensor:
    """W(T) = W(0) - eta sum_s (1 + beta + ... + beta^(T-1-s)) g_s."""
    gradients = history.gradients()
    factors = [sum(BETA**k for k in range(1 if forgets else STEPS - s)) for s in range(STEPS)]
    return start - STEP * torch.stack([c * g for c, g in zip(factors, gradients, strict=True)]).sum(dim=0)


def _decay(start: Tensor, history: History, *, frozen: bool = False) -> Tensor:
    """W(T) = q^T W(0) - eta sum_s q^(T-1-s) g_s with q = 1 - eta lambda."""
    q = 1.0 if frozen else 1 - STEP * DECAY
    terms = [q ** (STEPS - 1 - s) * g for s, g in enumerate(history.gradients())]
    return q**STEPS * start - STEP * torch.stack(terms).sum(dim=0)


def _mean(values: list[Tensor], beta: float) -> Tensor:
    """Return (1 - beta) sum_s beta^(t-s) v_s over s <= t, t the last."""
    return torch.stack([(1 - beta) * beta ** (len(values) - 1 - s) * v for s, v in enumerate(values)]).sum(dim=0)


def _adam(start: Tensor, history: History, *, decay: float = 0.0, corrected: bool = True) -> Tensor:
    """W(T) = q^T W(0) - eta sum_t q^(T-1-t) mhat_t / (sqrt(vhat_t) + eps), the moments as sums over the history."""
    gradients, q = history.gradients(), 1 - STEP * decay
    weight = q**STEPS * start
    for t in range(STEPS):
        past = gradients[: t + 1]
        first, second = _mean(past, B1), _mean([g.square() for g in past], B2)
        if corrected:
            first, second = first / (1 - B1 ** (t + 1)), second / (1 - B2 ** (t + 1))
        weight = weight - q ** (STEPS - 1 - t) * STEP * first / (second.sqrt() + EPS)
    return weight


def _rmsprop(start: Tensor, history: History, *, squared: bool = True) -> Tensor:
    """W(T) = W(0) - eta sum_t g_t / (sqrt(v_t) + eps)."""
    gradients, weight = history.gradients(), start
    for t, g in enumerate(gradients):
        mean = _mean([p.square() if squared else p.abs() for p in gradients[: t + 1]], B2)
        weight = weight - STEP * g / (mean.sqrt() + EPS)
    return weight


def _sign(start: Tensor, history: History, *, linear: bool = False) -> Tensor:
    """W(T) = W(0) - eta sum_t sign(g_t)."""
    return start - STEP * torch.stack([g if linear else g.sign() for g in history.gradients()]).sum(dim=0)


def _clip(start: Tensor, history: History, *, own_norm: bool = False) -> Tensor:
    """W(T) = W(0) - eta sum_t c_t g_t, c_t from the Gram matrices of all layers' signatures."""
    seen = [history] if own_norm else list(history.others)
    norms = torch.stack([torch.stack(h.norms()) for h in seen]).sum(dim=0).sqrt()
    scales = (LIMIT / norms).clamp(max=1)
    return start - STEP * torch.stack([c * g for c, g in zip(scales, history.gradients(), strict=True)]).sum(dim=0)


def _muon(start: Tensor, history: History, *, identity: bool = False) -> Tensor:
    """W(T) = W(0) - eta sum_t d^T M_t a with one common B x B matrix M_t, a function of signatures' inner products.

    With d P^(1/2) = R_d^T Q_d^T and a P^(1/2) = R_a^T Q_a^T, the weighted gradient is Q_d (R_d R_a^T) Q_a^T, and its
    polar factor Q_d U V^T Q_a^T = (d P^(1/2))^T M (a P^(1/2)) with M = R_d^+ U V^T (R_a^+)^T: all of size B.
    """
    weight = start
    for d, a in history.pairs:
        upper = [torch.linalg.qr((s * p.sqrt()).T).R for s, p in ((d, history.rows), (a, history.columns))]
        left, values, right = torch.linalg.svd(upper[0] @ upper[1].T, full_matrices=False)
        polar = (left * (values > 1e-10 * values[0])) @ right
        inverses = [torch.linalg.pinv(r, rtol=1e-12) for r in upper]
        common = torch.eye(len(d), dtype=d.dtype) if identity else inverses[0] @ polar @ inverses[1].T
        weight = weight - STEP * d.T @ common @ a
    return weight


def _experiment(title: str, case: Case, closed: Closed | None = None) -> Experiment:
    """Return the experiment of one optimizer; `closed` plants another closed form."""
    planted = case if closed is None else Case(case.updates, closed, case.twin, case.kept, case.batches)

    def measure(context: Context) -> Measurement:
        error, drift = run(planted, context.seed)
        return Measurement({"error": Estimate(error), "residual": Estimate(drift)})

    return Experiment(title, measure)


_OPTIM = torch.optim
_MOMENTUM = Case((Momentum(BETA),), _momentum, partial(_OPTIM.SGD, lr=STEP, momentum=BETA))
_DECAY = Case(
    (Decay(DECAY),), _decay, partial(_OPTIM.SGD, lr=STEP, weight_decay=DECAY), kept=(1 - STEP * DECAY) ** STEPS
)
_ADAMW = Case(
    (Adam(B1, B2, EPS), Decay(DECAY)),
    partial(_adam, decay=DECAY),
    partial(_OPTIM.AdamW, lr=STEP, betas=(B1, B2), eps=EPS, weight_decay=DECAY),
    kept=(1 - STEP * DECAY) ** STEPS,
)
_RMSPROP = Case((RMSProp(B2, EPS),), _rmsprop, partial(_OPTIM.RMSprop, lr=STEP, alpha=B2, eps=EPS))
_SIGN, _CLIP, _MUON = Case((Sign(),), _sign), Case((Clip(LIMIT),), _clip), Case((Muon(),), _muon)
_SGD = Case((), partial(_decay, frozen=True), batches=2)

MOMENTUM = _experiment("heavy ball, against torch.optim.SGD", _MOMENTUM)
NO_MEMORY = _experiment("the momentum forgotten", _MOMENTUM, partial(_momentum, forgets=True))
WEIGHT_DECAY = _experiment("weight decay, against torch.optim.SGD", _DECAY)
FROZEN_RESIDUAL = _experiment("W(0) taken to be frozen under decay", _DECAY, partial(_decay, frozen=True))
ADAM = _experiment("AdamW, against torch.optim.AdamW", _ADAMW)
NOT_CORRECTED = _experiment(
    "the bias correction of the moments forgotten", _ADAMW, partial(_adam, decay=DECAY, corrected=False)
)
RMSPROP = _experiment("RMSProp, against torch.optim.RMSprop", _RMSPROP)
NOT_SQUARED = _experiment("mean of |g| in place of g^2", _RMSPROP, partial(_rmsprop, squared=False))
SIGN = _experiment("sign descent", _SIGN)
LINEAR = _experiment("the sign taken to be linear", _SIGN, partial(_sign, linear=True))
CLIPPING = _experiment("clipping by the global norm", _CLIP)
OWN_NORM = _experiment("each layer clipped by its own norm", _CLIP, partial(_clip, own_norm=True))
MUON = _experiment("orthogonalised updates, M from Gram matrices against the singular value decomposition", _MUON)
NO_MIXING = _experiment("the common matrix M taken to be the identity", _MUON, partial(_muon, identity=True))
SGD = _experiment("mini-batches of 2 of 4 data, given their sequence", _SGD)
FULL_BATCH_WEIGHTS = _experiment(
    "every gradient divided by the number of all data", _SGD, lambda w, h: w + (_decay(w, h, frozen=True) - w) * 2 / 4
)

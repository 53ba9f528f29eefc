"""Least squares of one matrix that reads units, from sums over tokens.

Tokens count by the inverse mean square of their stream, which is what the next norm makes of an error. Without that, a
few first tokens whose stream is hundreds of times larger decide alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rctheory.architectures.readers import Reader
from rctheory.calibration.elimination import refit, ridge
from rctheory.calibration.selection import Selection

TINY = 1e-12
BLOCK = 384  # columns of the Gram matrix made at once


@dataclass(frozen=True)
class Refitted:
    """The sample of one axis.

    Args:
        kept: source units that are kept, (m,) int64, ascending.
        tensor: declared name of the matrix that reads them.
        weights: that matrix for the kept units, inputs first: (m g, D).
        error: mean square of what is missed relative to the stream, tokens weighed alike.
        makers: by declared name, what makes the kept units, where that was fitted too.
    """

    kept: Tensor
    tensor: str
    weights: Tensor
    error: float
    makers: Mapping[str, Tensor] = field(default_factory=dict)


def token_weight(stream: Tensor) -> Tensor:
    """Return the weight of every token, (..., 1): the inverse root mean square of its stream (..., D)."""
    return (stream.square().mean(dim=-1, keepdim=True) + TINY).rsqrt()


class Fit:
    """Gram matrix and cross products of one reading matrix, chunk by chunk.

    The outputs that are asked for, (1 - c) H W0 + c Y, are never made: their products follow from H'H, H'Y and |Y|^2.
    """

    def __init__(self, prior: Tensor, reader: Reader, correction: float) -> None:
        """Start from nothing."""
        columns, outputs = prior.shape
        self._prior, self._reader, self._correction = prior, reader, correction
        self._lower = torch.zeros(columns, columns, dtype=torch.float64)
        self._cross = torch.zeros(columns, outputs, dtype=torch.float64)
        self._square, self._tokens = 0.0, 0

    def add(self, hidden: Tensor, outputs: Tensor, stream: Tensor) -> None:
        """Add tokens: what is read, what is to be written, and the stream by which a token is weighed."""
        weight = token_weight(stream)
        x, y = (hidden * weight).flatten(0, 1), (outputs * weight).flatten(0, 1)
        for start in range(0, x.shape[1], BLOCK):  # the lower triangle by columns: 5/8 of the operations at 4 blocks
            block = slice(start, start + BLOCK)
            self._lower[start:, block] += x[:, start:].T @ x[:, block]
        self._cross += x.T @ y
        self._square += float(y.square().sum(dtype=torch.float64))
        self._tokens += len(x)

    def _products(self) -> tuple[Tensor, Tensor, float]:
        """Return H'H, and H'Z and |Z|^2 of the outputs Z that are asked for."""
        gram = self._lower.tril() + self._lower.tril(-1).T
        c, prior = self._correction, self._prior.double()
        before = gram @ prior
        square = (1 - c) ** 2 * float((prior * before).sum()) + c**2 * self._square
        square += 2 * c * (1 - c) * float((prior * self._cross).sum())
        return gram, (1 - c) * before + c * self._cross, square

    def whole(self, strength: float) -> Tensor:
        """Return the weights of all units, fitted; none is left out."""
        gram, asked, _ = self._products()
        gram, cross = ridge(gram, asked, self._prior, strength)
        return refit(gram, cross, torch.arange(len(gram)))

    def solve(self, m: int, select: Selection, strength: float, metric: Tensor | None) -> Refitted:
        """Choose the units and fit."""
        plain, asked, square = self._products()
        gram, cross = ridge(plain, asked, self._prior, strength)
        wanted, prior = cross, self._prior.double()
        if metric is not None:
            wanted, prior = cross @ metric, prior @ metric
        kept = select(gram, wanted, prior, m, self._reader.group)
        columns = self._reader.columns(kept)
        weights = refit(gram, cross, columns)
        return Refitted(kept, self._reader.tensor, weights, self._missed((plain, asked, square), columns, weights))

    def missed(self, weights: Tensor) -> float:
        """Return the error of weights of all units."""
        return self._missed(self._products(), torch.arange(len(weights)), weights)

    def _missed(self, products: tuple[Tensor, Tensor, float], columns: Tensor, weights: Tensor) -> float:
        """Return the mean square of what is missed with weights of some columns."""
        gram, asked, square = products
        fitted = gram.index_select(0, columns).index_select(1, columns)
        square -= 2 * float((weights * asked[columns]).sum())
        square += float((weights * (fitted @ weights)).sum())
        return square / self._tokens / self._prior.shape[1]

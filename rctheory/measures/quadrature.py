"""Designs that see what units do: strata along their features, kernel herding, optimal-transport quantisation."""

import warnings

import torch
from torch import Tensor

from rctheory.errors import LawError
from rctheory.measures.designs import Stratified, Weighted
from rctheory.measures.features import UnitKernel
from rctheory.measures.rules import FeatureDesign, Rule


class TreeStrata(FeatureDesign):
    """One random unit in each of m strata of neighbours; weights 1/m, unbiased.

    Units are put in the order of a k-d tree of m leaves on their principal coordinates, halved again and again along
    the coordinate that varies most; `Stratified` draws along this order, and has its exact variance. For a smooth
    function of features of dimension d the error is of order m^(-1/2 - 1/d); along one coordinate the part of the
    function that depends on it has m^(-3/2) and the rest m^(-1/2). Cost n K min(n, K) + n log(n)^2.

    Args:
        coordinates: how many principal coordinates the tree sees; 1 sorts the units along the leading one. All when
            None.

    Raises:
        LawError: no coordinate.

    Source: claim `sampling.design`.
    """

    name = "tree-strata"

    def __init__(self, coordinates: int | None = None) -> None:
        """Check the number."""
        if coordinates is not None and coordinates < 1:
            raise LawError(f"{coordinates} coordinates", "at least 1", "use 1 to sort along the leading direction")
        self.coordinates = coordinates

    def _choose(self, centred: Tensor, m: int, generator: torch.Generator) -> Rule:
        order = tree_order(principal_coordinates(centred, self.coordinates), m)
        picked = Stratified().draw(len(order), m, generator)
        return _uniform(len(order), order[picked])


class Herding(FeatureDesign):
    """Units picked one by one so that the mean of their kernel features stays closest to that of all: weights 1/m.

        i_{t+1} = argmin_i |phi(i) + sum_{s <= t} phi(i_s) - (t + 1) mean phi|,  <phi(i), phi(j)> = k(i, j)

    over the units that are not picked yet. In finite dimension the error of the mean is of order 1/m, against m^(-1/2)
    of random draws; what no feature shows has the error of random draws. Nothing is drawn. Cost n^2 K for the Gaussian
    kernel, n m K for the linear one.

    Args:
        bandwidth: of a Gaussian kernel, in root mean square lengths of the features; the linear kernel when None.

    Source: Chen, Welling and Smola (2010), Super-samples from kernel herding.
    """

    name = "herding"

    def __init__(self, bandwidth: float | None = None) -> None:
        """Keep the bandwidth."""
        self.bandwidth = bandwidth

    def _choose(self, centred: Tensor, m: int, generator: torch.Generator) -> Rule:
        kernel = UnitKernel.of(centred, self.bandwidth)
        wanted = kernel.means()
        # |phi(i) + sum_s phi(i_s) - (t + 1) mean phi|^2 / 2, up to what is the same for every i.
        score, picked = kernel.own() / 2, []
        for _ in range(m):
            score = score - wanted
            unit = int(score.argmin())
            picked.append(unit)
            score = score + kernel.column(unit)
            score[unit] = float("inf")
        return _uniform(len(centred), torch.tensor(picked))


class Importance(FeatureDesign):
    """Iid draws of units with probabilities p_j in proportion to |phi_j - mean phi|; weights in proportion to 1 / p_j.

    With influence functions for features this is the least sum of their variances that independent draws can have; the
    error is still of order m^(-1/2), and m = n units are not every unit once.

    Args:
        floor: least importance, relative to the mean: no weight is larger than 1 / floor times its fair share.

    Raises:
        LawError: a floor that is not positive and finite.

    Source: Hansen and Hurwitz (1943); claim `sampling.variance` for equal probabilities.
    """

    name = "importance"

    def __init__(self, floor: float = 0.1) -> None:
        """Check the floor."""
        if not 0 < floor < float("inf"):
            raise LawError(f"floor {floor}", "a positive finite number", "use 0.1")
        self.floor = floor

    def _choose(self, centred: Tensor, m: int, generator: torch.Generator) -> Rule:
        sizes = centred.norm(dim=1)
        mean = float(sizes.mean()) or 1.0
        design = Weighted(sizes.clamp(min=self.floor * mean))
        indices = design.draw(len(sizes), m, generator)
        shares = design.shares(m)[indices]
        return Rule(len(sizes), indices, shares / shares.sum())


class Quantisation(FeatureDesign):
    """Optimal-transport quantisation: the m units and positive weights nearest to all units in squared distance.

    Weighted m-point laws nearest in W2 are k-means: cells, their shares as weights. Lloyd's algorithm starts from the
    cells of a tree; the unit nearest to the centre stands for its cell. Nothing is drawn. The error of a smooth
    function of features of dimension d is of order m^(-1/2 - 1/d): inside a cell the unit differs from the centre at
    random. A cell of equal units is represented several times when there are fewer distinct units than m. Cost n m K
    per sweep of Lloyd's algorithm.

    Args:
        sweeps: at most so many.

    Source: Graf and Luschgy (2000), Foundations of quantization for probability distributions; scikit-learn's KMeans.
    """

    name = "quantisation"

    def __init__(self, sweeps: int = 50) -> None:
        """Keep the number."""
        self.sweeps = sweeps

    def _choose(self, centred: Tensor, m: int, generator: torch.Generator) -> Rule:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        n = len(centred)
        start = torch.empty(n, dtype=torch.int64)
        start[tree_order(principal_coordinates(centred), m)] = torch.arange(n) * m // n
        means = KMeans(m, init=_centres(centred, start, m).numpy(), n_init=1, max_iter=self.sweeps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct units than cells
            means.fit(centred.numpy())
        centres = torch.from_numpy(means.cluster_centers_)
        return _representatives(centred, torch.from_numpy(means.labels_).long(), centres, m)


def principal_coordinates(centred: Tensor, count: int | None = None) -> Tensor:
    """Return the leading principal coordinates of centred features, in falling order of variance: (n, count).

    There are at most min(n, K). The sign of each is the one that makes the entry of largest size positive.
    """
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    coordinates: Tensor = (u * s)[:, :count]
    if not coordinates.numel():
        return coordinates
    largest = coordinates.gather(0, coordinates.abs().argmax(dim=0, keepdim=True))
    return torch.where(largest < 0, -coordinates, coordinates)


def tree_order(coordinates: Tensor, m: int) -> Tensor:
    """Return the order of the units in a k-d tree of m leaves of equal size, (n,) int64.

    A node of k leaves is cut, where what varies most inside is sorted, into nodes of (k + 1) // 2 and k // 2 leaves;
    leaf c has the places from c n / m to (c + 1) n / m, rounded.
    """
    n = len(coordinates)
    order = torch.arange(n)
    waiting = [(0, m)]
    while waiting:
        first, last = waiting.pop()
        middle = (first + last + 1) // 2
        start, cut, stop = ((2 * leaf * n + m) // (2 * m) for leaf in (first, middle, last))
        if last - first < 2 or stop - start < 2 or not coordinates.shape[1]:
            continue
        inside = coordinates[order[start:stop]]
        ranks = inside[:, int(inside.var(dim=0).argmax())].argsort(stable=True)
        order[start:stop] = order[start:stop][ranks]
        waiting += [part for part, size in (((first, middle), cut - start), ((middle, last), stop - cut)) if size > 1]
    return order


def _uniform(size: int, indices: Tensor) -> Rule:
    m = len(indices)
    return Rule(size, indices, torch.full((m,), 1 / m, dtype=torch.float64))


def _centres(points: Tensor, cells: Tensor, m: int) -> Tensor:
    """Return the mean of each of m cells that are not empty."""
    sums = torch.zeros(m, points.shape[1], dtype=points.dtype).index_add_(0, cells, points)
    return sums / torch.bincount(cells, minlength=m)[:, None]


def _representatives(points: Tensor, cells: Tensor, centres: Tensor, m: int) -> Rule:
    """Return the units nearest to the centres of their cells, with the shares of the cells; m of them in all."""
    n, counts = len(points), torch.bincount(cells, minlength=m)
    taken = (counts > 0).long()
    for _ in range(m - int(taken.sum())):  # where cells are empty, others of several units are represented once more
        taken[int((counts / taken.clamp(min=1)).where(taken < counts, torch.zeros(())).argmax())] += 1
    distances = (points - centres[cells]).square().sum(dim=1)
    by_distance = distances.argsort(stable=True)
    ordered = by_distance[cells[by_distance].argsort(stable=True)]  # cell by cell, the nearest first
    rank = torch.arange(n) - (counts.cumsum(0) - counts)[cells[ordered]]
    indices = ordered[rank < taken[cells[ordered]]]
    shares = (counts / (n * taken.clamp(min=1).to(torch.float64)))[cells[indices]]
    return Rule(n, indices, shares)

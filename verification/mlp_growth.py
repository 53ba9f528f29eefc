"""Claim `mlp.growth`: networks that grow, or shrink, between all pairs of widths, at once and after more training.

Networks of all widths follow one limit, with the same mini-batches. So a network that was trained at width n and is
then grown starts where its source is (exactly, by balanced copies), goes on as its source would, and is as far from a
network trained at the large width as two independent networks of both widths are: v (1/n + 1/m) in the mean square.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy import stats
from torch import Tensor

from rctheory.dynamics import Network
from rctheory.statistics.gates import Curve, Estimate, Quantity
from rctheory.statistics.rates import effective_width
from rctheory.suite.experiment import Context, Experiment, Measurement, Table, Tier
from verification.growth_lab import EVERY, PLANS, Lab, Plan, move, trained
from verification.tasks import CIFAR10, DIGITS, FASHION, STEP, Task
from verification.variates import pooled_points


@dataclass(frozen=True)
class Planted:
    """What a control gets wrong: axes that are not tied, or the rate of a standard parametrisation."""

    tied: bool = True
    standard_rate: bool = False


@dataclass(frozen=True)
class _Pair:
    """Networks of width n moved to width m, each against one trained at width m; one number for each pair of seeds.

    Args:
        zero_shot: accuracy and loss at once, (seeds, 2).
        later: the same after `more` steps.
        start: change of the outputs by the transfer, relative.
        trajectory: after `more` steps, difference from the source that was trained on, relative; growth alone.
        gaps: squared distance of outputs from each large network's after as many steps in all, mean over the sources.
        share: steps until the loss of a network trained at width m is reached, over the steps that it took.
    """

    zero_shot: Tensor
    later: Tensor
    start: float
    trajectory: float
    gaps: tuple[float, ...]
    share: tuple[float, ...]


def _pair(lab: Lab, n: int, m: int, planted: Planted, *, timed: bool) -> _Pair:
    """Move networks of width n to width m, look at them, and train on."""
    seeds = min(lab.plan.seeds(n), lab.plan.seeds(m))
    sources, others = (trained(lab, w, lab.plan.seeds(w)) for w in (n, m))
    (source, source_later), (other, other_later) = (_first(networks, seeds) for networks in (sources, others))
    moved = move(source, m, lab.root, tied=planted.tied)
    later = lab.go_on(moved, lab.plan.more, step=STEP * n / m if planted.standard_rate else STEP)
    x = lab.data()[2].x
    before, after, wanted, large = (net.outputs(x) for net in (source, moved, source_later, other_later))
    outputs = later.outputs(x)
    share: tuple[float, ...] = ()
    if timed:
        # Copies of a neuron stay equal: the source goes on as the grown network would, at a fraction of the work. That
        # they do is what `trajectory` measures.
        share = _share(lab, source if n < m else moved, lab.loss(other))
    # Where there are more sources than networks of width m, the others stand for themselves.
    ends = torch.cat([outputs, sources[1].outputs(x)[seeds:]])
    gaps = torch.stack([(ends - one).square().mean() for one in large])
    return _Pair(
        lab.look(moved),
        lab.look(later),
        _relative(after, before),
        _relative(outputs, wanted),
        tuple(gaps.tolist()),
        share,
    )


def _first(networks: tuple[Network, Network], seeds: int) -> tuple[Network, Network]:
    """Return the networks of the first seeds."""
    start, later = (replace(net, weights=tuple(w[:seeds] for w in net.weights)) for net in networks)
    return start, later


def _relative(outputs: Tensor, wanted: Tensor) -> float:
    """Return the largest root mean square difference over the seeds, relative to the size of what is wanted."""
    difference = (outputs - wanted).square().mean(dim=(-1, -2)) / wanted.square().mean(dim=(-1, -2))
    return math.sqrt(float(difference.max()))


def _share(lab: Lab, network: Network, targets: Tensor) -> tuple[float, ...]:
    """Return the steps until the loss is at most the target, over the steps of the first training; 1 if it never is."""
    reached = torch.full_like(targets, lab.plan.steps)

    def look(index: int, current: Network, _signatures: object) -> None:
        if index % EVERY == 0:
            # A loss that is reached at once counts as a look: no factor is better than what is resolved.
            reached[(lab.loss(current) <= targets) & (reached == lab.plan.steps)] = max(index, EVERY)

    lab.go_on(network, lab.plan.steps, look)
    return tuple((reached / lab.plan.steps).tolist())


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of the mean of independent values."""
    mean = sum(values) / len(values)
    se = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * se
    return mean - half, mean + half


def _measure(context: Context, task: Task, planted: Planted | None = None) -> Measurement:
    """Move networks between all pairs of widths, and between a width and its double for the rate."""
    plan = PLANS[context.tier]
    lab = Lab(task, plan, context.seed, context.device)
    pairs: dict[tuple[int, int], _Pair] = {}
    wanted = [(n, 2 * n) for n in plan.ladder]
    # A control is seen on few pairs.
    wanted += [] if planted else [(n, m) for n in plan.widths for m in plan.widths if n != m and (n, m) not in wanted]
    for n, m in wanted:
        context.report_progress(f"{n} to {m}")
        timed = n in plan.widths and m in plan.widths
        pairs[n, m] = _pair(lab, n, m, planted or Planted(), timed=timed)
    growing = {pair: found for pair, found in pairs.items() if pair[0] < pair[1]}
    gaps = {n: growing[n, 2 * n].gaps for n in plan.ladder}
    points = pooled_points(gaps, lambda n: effective_width(n, 2 * n, nested=False))
    timed_pairs = [found.share for found in growing.values() if found.share]
    common = min(len(share) for share in timed_pairs)
    by_seed = [sum(share[k] for share in timed_pairs) / len(timed_pairs) for k in range(common)]
    quantities: dict[str, Quantity] = {
        "start": Estimate(max(found.start for found in growing.values())),
        "trajectory": Estimate(max(found.trajectory for found in growing.values())),
        "gap": Curve(points, "effective width 1 / (1/n + 1/(2n))", "RMS difference from the large network"),
        "share": Estimate(sum(by_seed) / common, interval(by_seed)),
    }
    return Measurement(quantities, _tables(lab, pairs), (_remark(plan),))


def _remark(plan: Plan) -> str:
    return (
        f"{plan.steps} steps at each width, then {plan.more} more. A factor counts steps at the target's width: "
        "those of training there from the start over those of the moved network until it has the same training loss, "
        f"looked at every {EVERY} steps: at most {plan.steps // EVERY}, and 1 where it is not reached in {plan.steps}. "
        "Work also counts the training of the source, a step at width n costing n^2."
    )


def _tables(lab: Lab, pairs: dict[tuple[int, int], _Pair]) -> tuple[Table, ...]:
    """Return what moved networks do, and what growth saves."""
    scores, factors = {}, {}
    for (n, m), found in pairs.items():
        if not found.share:
            continue
        alone = [lab.look(net).mean(dim=0) for net in trained(lab, m, lab.plan.seeds(m))]
        at_once, later = found.zero_shot.mean(dim=0), found.later.mean(dim=0)
        columns = torch.stack([at_once, later, *alone])
        scores[f"{n} to {m}"] = (*columns[:, 0].tolist(), *columns[:, 1].tolist())
        mean, (low, high) = sum(found.share) / len(found.share), interval(found.share)
        work = mean + min(1.0, (n / m) ** 2) if n < m else mean
        factors[f"{n} to {m}"] = (1 / mean, 1 / high, 1 / max(low, EVERY / lab.plan.steps), 1 / work)
    kinds = ("at once", "after more steps", f"trained at m, {lab.plan.steps} steps", "trained at m, all steps")
    heads = tuple(f"{what}, {kind}" for what in ("accuracy", "loss") for kind in kinds)
    saved = ("factor in steps", "95% low", "95% high", "factor in work")
    return (
        Table("Networks of width n moved to width m", tuple(scores), heads, tuple(scores.values()), "text"),
        Table("How many times fewer steps", tuple(factors), saved, tuple(factors.values()), "text"),
    )


def _experiments(task: Task) -> tuple[Experiment, ...]:
    """Return the experiment on a task and its two controls."""

    def of(title: str, planted: Planted | None = None) -> Experiment:
        def measure(context: Context) -> Measurement:
            # An error is seen with little work.
            return _measure(replace(context, tier=Tier.SMOKE) if planted else context, task, planted)

        return Experiment(title, measure, task.requires)

    return (
        of(f"networks trained on {task.title}, moved between all pairs of widths"),
        of("rows of a layer copied independently of the next layer's columns", Planted(tied=False)),
        of("the learning rate of a standard parametrisation after growing", Planted(standard_rate=True)),
    )


EXPERIMENT, UNTIED, STANDARD_RATE = _experiments(DIGITS)
FASHION_EXPERIMENT, FASHION_UNTIED, FASHION_STANDARD_RATE = _experiments(FASHION)
CIFAR10_EXPERIMENT, CIFAR10_UNTIED, CIFAR10_STANDARD_RATE = _experiments(CIFAR10)

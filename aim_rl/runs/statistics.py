"""Success rates with their uncertainty, and rank correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor


class SuccessRate(TypedDict):
    """A measured success rate and its Wilson 95 % interval."""

    successes: int
    episodes: int
    success_rate: float
    ci_low: float
    ci_high: float


def success_rate(successes: int, episodes: int) -> SuccessRate:
    """Success rate with the Wilson score interval at 95 % (Wilson 1927)."""
    z = 1.959964
    share = successes / episodes
    scale = 1 + z**2 / episodes
    centre = (share + z**2 / (2 * episodes)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / episodes + z**2 / (4 * episodes**2))
    return {
        "successes": successes,
        "episodes": episodes,
        "success_rate": share,
        "ci_low": max(0.0, centre - half),
        "ci_high": min(1.0, centre + half),
    }


def describe(rate: SuccessRate) -> str:
    """`56.0 % (46.2 .. 65.3, n = 100)`."""
    low, high = 100 * rate["ci_low"], 100 * rate["ci_high"]
    return f"{100 * rate['success_rate']:.1f} % ({low:.1f} .. {high:.1f}, n = {rate['episodes']})"


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of a [N] and b [N], ties at their mean rank; 0 where one of them is constant."""
    ranks = []
    for values in (a, b):
        _, place, count = values.unique(return_inverse=True, return_counts=True)
        ranks.append((count.cumsum(0) - (count - 1) / 2)[place])
    return torch.corrcoef(torch.stack(ranks))[0, 1].nan_to_num(0.0).item()


class PairedComparison(TypedDict):
    """Two policies on the same seeds: how many seeds each solves, and whether the difference may be chance.

    `difference` is the second success rate minus the first, with Newcombe's 95 % interval; `p_value` is that of
    McNemar's exact test.
    """

    episodes: int
    kept: int
    gained: int
    lost: int
    neither: int
    difference: float
    ci_low: float
    ci_high: float
    p_value: float


def compare_pairs(before: Sequence[bool], after: Sequence[bool]) -> PairedComparison:
    """Compares paired outcomes, of which there is at least one.

    McNemar's exact test (1947): if both policies are equally good, each of the `gained + lost` seeds that only one of
    them solves is a fair coin; the p-value is two-sided. The interval is method 10 of Newcombe, "Improved confidence
    intervals for the difference between binomial proportions based on paired data" (1998): the two Wilson intervals,
    squared and added, less their correlation phi.

    Args:
        before, after: success of the first and the second policy on each seed.
    """
    pairs = list(zip(before, after, strict=True))
    kept, lost = pairs.count((True, True)), pairs.count((True, False))
    gained, neither = pairs.count((False, True)), pairs.count((False, False))
    count = len(pairs)
    first, second = success_rate(kept + lost, count), success_rate(kept + gained, count)
    margins = (kept + lost) * (gained + neither) * (kept + gained) * (lost + neither)
    covariance = kept * neither - lost * gained
    if covariance > 0:
        covariance = max(covariance - count / 2, 0)  # continuity correction
    phi = covariance / math.sqrt(margins) if margins else 0.0
    difference = second["success_rate"] - first["success_rate"]

    def distance(up: SuccessRate, down: SuccessRate) -> float:
        """From the difference to its limit, where `up` is at its upper and `down` at its lower limit."""
        a, b = up["ci_high"] - up["success_rate"], down["success_rate"] - down["ci_low"]
        return math.sqrt(a**2 - 2 * phi * a * b + b**2)

    discordant = gained + lost
    tail = sum(math.comb(discordant, k) for k in range(min(gained, lost) + 1)) / 2**discordant
    return {
        "episodes": count,
        "kept": kept,
        "gained": gained,
        "lost": lost,
        "neither": neither,
        "difference": difference,
        "ci_low": difference - distance(first, second),
        "ci_high": difference + distance(second, first),
        "p_value": min(1.0, 2 * tail),
    }


def describe_pairs(pairs: PairedComparison) -> str:
    """`+10.0 % points (+1.2 .. +18.8, n = 100), 40 kept, 15 gained, 5 lost, 40 neither, p = 0.041 (McNemar, exact)`."""
    low, high = 100 * pairs["ci_low"], 100 * pairs["ci_high"]
    counts = ", ".join(f"{pairs[name]} {name}" for name in ("kept", "gained", "lost", "neither"))
    difference = f"{100 * pairs['difference']:+.1f} % points ({low:+.1f} .. {high:+.1f}, n = {pairs['episodes']})"
    return f"{difference}, {counts}, p = {pairs['p_value']:.2g} (McNemar, exact)"

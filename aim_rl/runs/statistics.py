"""Success rates with their uncertainty, and rank correlation."""

from __future__ import annotations

import math
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

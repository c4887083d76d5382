"""Success rates with their uncertainty."""

from __future__ import annotations

import math
from typing import TypedDict


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

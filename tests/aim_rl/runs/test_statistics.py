"""Wilson's interval against published numbers, rank correlation against ranks by hand."""

from __future__ import annotations

import pytest
import torch

from aim_rl.runs.statistics import describe, rank_correlation, success_rate


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 100, 0.0, 0.0370), (100, 100, 0.9630, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_interval(successes: int, episodes: int, low: float, high: float) -> None:
    rate = success_rate(successes, episodes)
    assert (rate["successes"], rate["episodes"]) == (successes, episodes)
    assert rate["success_rate"] == successes / episodes
    assert (rate["ci_low"], rate["ci_high"]) == pytest.approx((low, high), abs=1e-4)
    assert 0 <= rate["ci_low"] <= rate["success_rate"] <= rate["ci_high"] <= 1


def test_words() -> None:
    assert describe(success_rate(8, 10)) == "80.0 % (49.0 .. 94.3, n = 10)"


def test_rank_correlation() -> None:
    dense, success = torch.tensor([0.1, 5.0, 0.3, 0.3]), torch.tensor([False, True, True, False])
    # Ranks 1, 4, 2.5, 2.5 and 1.5, 3.5, 3.5, 1.5; deviations -1.5 1.5 0 0 and -1 1 1 -1: 3 / sqrt(4.5 * 4)
    assert rank_correlation(dense, success) == pytest.approx(3 / 18**0.5)
    assert rank_correlation(dense, -dense) == pytest.approx(-1)
    assert rank_correlation(dense, torch.ones(4)) == 0

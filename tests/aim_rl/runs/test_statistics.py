"""Wilson's and Newcombe's intervals against published numbers, tests and ranks by hand."""

from __future__ import annotations

import pytest
import torch

from aim_rl.runs.statistics import compare_pairs, describe, describe_pairs, rank_correlation, success_rate


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


def outcomes(kept: int, lost: int, gained: int, neither: int) -> tuple[list[bool], list[bool]]:
    pairs = [(True, True)] * kept + [(True, False)] * lost + [(False, True)] * gained + [(False, False)] * neither
    return [before for before, _ in pairs], [after for _, after in pairs]


@pytest.mark.parametrize(
    ("counts", "difference", "low", "high", "p_value"),
    [
        # Newcombe (1998), method 10: 0.0569 .. 0.3404. McNemar: 2 (1 + 14 + 91) / 2^14
        ((36, 12, 2, 0), -0.2, -0.3404, -0.0569, 212 / 2**14),
        # phi = (40 * 40 - 5 * 15 - 100 / 2) / (45 * 55) = 0.596; McNemar: 2 (1 + 20 + 190 + 1140 + 4845 + 15504) / 2^20
        ((40, 5, 15, 40), 0.1, 0.1 - 0.0877, 0.1 + 0.0844, 43400 / 2**20),
        # Nothing differs; the margins leave no phi, and both Wilson intervals are 0.7225 .. 1
        ((10, 0, 0, 0), 0.0, -0.2775, 0.2775, 1.0),
        # Phi = -1: one Wilson interval of 1 of 2 from end to end, 2 * 0.4055
        ((0, 1, 1, 0), 0.0, -0.8110, 0.8110, 1.0),
    ],
)
def test_paired_comparison(
    counts: tuple[int, int, int, int], difference: float, low: float, high: float, p_value: float
) -> None:
    pairs = compare_pairs(*outcomes(*counts))
    assert (pairs["kept"], pairs["lost"], pairs["gained"], pairs["neither"]) == counts
    assert pairs["episodes"] == sum(counts)
    assert (pairs["difference"], pairs["p_value"]) == pytest.approx((difference, p_value))
    assert (pairs["ci_low"], pairs["ci_high"]) == pytest.approx((low, high), abs=1e-4)


def test_words_of_a_comparison() -> None:
    words = (
        "+10.0 % points (+1.2 .. +18.4, n = 100), 40 kept, 15 gained, 5 lost, 40 neither, p = 0.041 (McNemar, exact)"
    )
    assert describe_pairs(compare_pairs(*outcomes(40, 5, 15, 40))) == words

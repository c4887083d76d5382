"""The hacking watch on synthetic runs: it warns of a hacked reward and leaves honest runs alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from aim_rl.rl.hacking_watch import LINGER, HackingWatch, hovering

ITERATIONS = 60


def alarms(dense: np.ndarray, success: np.ndarray) -> np.ndarray:
    """Whether each of 20 noisy runs [ITERATIONS] with these means raises the alarm at least once; share of its time."""
    shares = []
    for seed in range(20):
        rng, watch = np.random.default_rng(seed), HackingWatch()
        noisy = dense + 0.05 * rng.standard_normal(ITERATIONS), rng.binomial(64, success) / 64
        shares.append(np.mean([watch.alarm(d, s) for d, s in zip(*noisy, strict=True)]))
    return np.array(shares)


RISING, FLAT = np.linspace(0.2, 1.2, ITERATIONS), np.full(ITERATIONS, 0.5)


@pytest.mark.parametrize("success", [FLAT, np.linspace(0.6, 0.2, ITERATIONS)], ids=["flat", "falling"])
def test_a_hacked_reward_raises_the_alarm(success: np.ndarray) -> None:
    assert (alarms(RISING, success) > 0.25).all()


@pytest.mark.parametrize(
    ("dense", "success"),
    [(RISING, np.linspace(0.2, 0.95, ITERATIONS)), (FLAT, FLAT), (RISING[::-1], FLAT), (RISING, np.ones(ITERATIONS))],
    ids=["both rise", "nothing happens", "dense falls", "success at its ceiling"],
)
def test_an_honest_run_is_left_alone(dense: np.ndarray, success: np.ndarray) -> None:
    assert alarms(dense, success).mean() < 0.05


def test_nothing_is_said_before_both_windows_are_full() -> None:
    watch = HackingWatch()
    assert not any(watch.alarm(float(i), 0.5) for i in range(19))
    assert watch.alarm(19.0, 0.5)


def test_the_terminal_is_told_once_per_alarm() -> None:
    rollouts = TensorDict({}, [1, 1])
    rollouts["next", "response"] = torch.zeros(1, 1, 8)
    rollouts["next", "executed"] = torch.ones(1, 1, 8, dtype=torch.bool)
    rollouts["collector", "mask"] = torch.ones(1, 1, dtype=torch.bool)
    watch, raised, logged = HackingWatch(), [], []
    for dense in [*range(25), *[24] * 25, *range(24, 50)]:  # rises, rests, rises again
        logged.append(watch.update(rollouts, {"return_dense": float(dense), "success": 0.5})["watch/alarm"])
        raised.append(watch.raised_now)
    assert sum(raised) == 2 and raised.index(True) == logged.index(1.0) == 19
    assert 0.0 in logged[25:50] and sum(logged) > 2


def test_hovering_counts_steps_that_linger() -> None:
    """20 control steps at a peak: the last four of them linger; after a break the count starts again."""
    response = torch.zeros(2, 6, 8)
    flat = response.view(2, 48)
    flat[0, 3:23] = 0.8
    flat[1, :LINGER] = 0.8  # not long enough
    flat[1, LINGER + 1 : 40] = 0.8
    executed = torch.ones(2, 6, 8, dtype=torch.bool)
    executed[1, 4:] = False  # the second episode ends at control step 32, 15 after the break
    assert hovering(response, executed) == pytest.approx(4 / 80)
    assert hovering(torch.zeros(1, 2, 8), torch.zeros(1, 2, 8, dtype=torch.bool)) == 0


def test_padding_is_not_watched() -> None:
    rollouts = TensorDict({}, [1, 4])
    rollouts["next", "response"] = torch.ones(1, 4, 8)
    rollouts["next", "executed"] = torch.ones(1, 4, 8, dtype=torch.bool)
    rollouts["collector", "mask"] = torch.tensor([[True, True, True, False]])
    said = HackingWatch().update(rollouts, {"return_dense": 1.0, "success": 0.0})
    assert said == {"watch/hovering": pytest.approx(8 / 24), "watch/alarm": 0.0}

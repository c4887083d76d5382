"""Demonstrations of the tabletop's scripted expert, which is disturbed on purpose."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from envs.tabletop import env as tabletop_env
from envs.tabletop import perturbation
from envs.tabletop.env import TabletopEnv
from envs.tabletop.perturbation import ActionPerturbation


@pytest.mark.parametrize("frame", [0, 5])
def test_a_simulation_gone_wrong_is_no_demonstration(frame: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a recorded nor a dropped one: the process fails, and another one tries."""
    env = TabletopEnv("click_bell", head_size=(16, 16), wrist_size=(16, 16))
    observe, count = env.observe, itertools.count()

    def wrong() -> Any:
        observation = observe()
        return observation | {"qpos": np.full(14, np.nan, np.float32)} if next(count) == frame else observation

    monkeypatch.setattr(env, "observe", wrong)
    with pytest.raises(FloatingPointError, match="the simulator observed qpos as NaN"):
        env.demonstrate(0)
    env.close()


def test_a_long_task_gives_its_expert_half_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`EXPERT_LIMIT`, or half of the task's limit if that is more: an expert that stands still is watched so long."""
    monkeypatch.setattr(tabletop_env, "EXPERT_LIMIT", 6)
    env = TabletopEnv("click_bell", head_size=(16, 16), wrist_size=(16, 16))
    monkeypatch.setattr(env, "expert_action", lambda: env.observe()["qpos"].copy())
    for limit, waited in ((8, 6), (20, 10)):
        env.step_limit = limit
        assert env.demonstrate(0) is None and env.steps == waited
    env.close()


def test_a_perturbation_moves_one_arm_for_its_steps_and_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbation, "RATE", 1.0)
    perturb, still = ActionPerturbation(np.random.default_rng(0)), np.zeros(14)
    offsets = []
    for _ in range(40):
        action, disturbed = perturb(still)
        assert disturbed and action.any()
        offsets.append(action)
        assert not action[:7].any() or not action[7:].any()  # one arm
        assert not action[[6, 13]].any() or np.count_nonzero(action) == 1  # joints move, or a gripper opens
    for first, second in zip(offsets[::2], offsets[1::2], strict=True):
        np.testing.assert_array_equal(first, second)
    assert not still.any()


def test_an_undisturbed_action_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbation, "RATE", 0.0)
    given = np.arange(14.0)
    action, disturbed = ActionPerturbation(np.random.default_rng(0))(given)
    assert action is given and not disturbed

"""Episodes that are saved in the middle, and branches of them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.base import Observation
from envs.errors import UserError
from envs.robotwin.env import RoboTwinEnv
from envs.tabletop.env import TabletopEnv
from envs.wrappers import ChunkEnv, SeedSchedule

SMALL = {"head_size": (24, 32), "wrist_size": (16, 16)}
Actions = list[NDArray[np.float64]]


def make(task: str, setting: str = "clean") -> TabletopEnv:
    return TabletopEnv(task, setting, **SMALL)


def solve(env: TabletopEnv, seed: int) -> Actions:
    """The expert's actions of an episode that it solves."""
    env.restart(seed)
    actions: Actions = []
    solved = False
    while not solved and env.steps < env.step_limit:
        actions.append(env.expert_action())
        solved = env.control(actions[-1])
    assert solved
    return actions


def follow(env: TabletopEnv, actions: Actions) -> tuple[list[bool], Observation]:
    """Success after each action, and what is seen then."""
    return [env.control(action) for action in actions], env.observe()


def bodies(env: TabletopEnv) -> NDArray[np.float64]:
    """[n, 3], m."""
    return np.array([body.position for body in env.scene.bodies.values()])


@pytest.mark.parametrize("task", ["stack_blocks_two", "click_bell", "handover_block", "turn_switch", "shake_bottle"])
def test_a_branch_repeats_the_episode(task: str) -> None:
    """turn_switch is articulated; shake_bottle's success depends on swings that the task has counted."""
    env = make(task, "randomized")
    actions = solve(env, 3)
    half = len(actions) // 2
    env.restart(3)
    follow(env, actions[:half])
    snapshot, before = env.snapshot(), env.observe()
    contacts = [(contact.a, contact.b) for contact in env.scene.contacts()]
    solved, seen = follow(env, actions[half:])
    places = bodies(env)
    other = make(task, "randomized")  # which has another episode behind it
    other.restart(5)
    other.restore(pickle.loads(pickle.dumps(snapshot)))
    assert (other.steps, other.seed, other.instruction) == (half, 3, env.instruction)
    assert [(contact.a, contact.b) for contact in other.scene.contacts()] == contacts
    for key, value in other.observe().items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)
    again, seen_again = follow(other, actions[half:])
    assert again == solved and solved[-1]
    np.testing.assert_allclose(bodies(other), places, atol=1e-3)
    for key in ("qpos", "left_endpose", "right_endpose"):
        np.testing.assert_allclose(seen_again[key], seen[key], atol=1e-3)


def test_branches_repeat_each_other_and_do_not_meet() -> None:
    env = make("stack_blocks_two")
    actions = solve(env, 3)
    env.restart(3)
    follow(env, actions[:40])
    snapshot = env.snapshot()
    branches = []
    for _ in range(2):
        env.restore(snapshot)
        branches.append(follow(env, actions[40:]))
        env.restore(snapshot)
        follow(env, [np.array([0.3, 1, 1, 0, 0, 0, 1.0] * 2)] * 20)  # sweeps both arms across the table
    assert branches[0][0] == branches[1][0] and branches[0][0][-1]
    for key, value in branches[0][1].items():
        np.testing.assert_array_equal(value, branches[1][1][key])


def test_a_task_keeps_its_counters_and_its_bodies() -> None:
    env = make("shake_bottle")
    actions = solve(env, 3)
    env.restart(3)
    follow(env, actions[:-1])
    task = env.task
    assert task.swings > 0  # type: ignore[attr-defined]
    snapshot = env.snapshot()
    task.swings = 100  # type: ignore[attr-defined]
    env.restore(snapshot)
    assert 0 < env.task.swings < 100  # type: ignore[attr-defined]
    assert env.task.bottle is env.scene.bodies[env.task.bottle.name]  # type: ignore[attr-defined]
    assert env.task.rng is env.scene.rng


def test_wrappers_continue_from_a_snapshot() -> None:
    env = make("stack_blocks_two")
    chunked = SeedSchedule(ChunkEnv(env, execute=4, step_limit=10), iter(()))
    chunk = np.tile(np.append(np.zeros(6), 1.0), (4, 2)).astype(np.float32)
    chunked.reset(seed=3)
    chunked.step(chunk)
    snapshot = env.snapshot()
    observation, info = chunked.reset(seed=snapshot.seed, options={"snapshot": snapshot})
    assert observation["seed"] == 3 and not observation["executed"].any() and env.steps == 4
    assert info["instruction"] == env.instruction
    assert not chunked.step(chunk)[3]
    observation, *_, truncated, _ = chunked.step(chunk)
    assert truncated and observation["executed"].sum() == 2  # the limit counts from the episode's start


def test_a_snapshot_of_another_task_is_refused() -> None:
    env, other = make("click_bell"), make("stack_blocks_two")
    env.restart(0)
    with pytest.raises(ValueError, match="click_bell"):
        other.restore(env.snapshot())


def test_robotwin_says_that_it_cannot_save() -> None:
    env = object.__new__(RoboTwinEnv)  # without a checkout
    with pytest.raises(UserError, match="--backend robotwin"):
        env.snapshot()

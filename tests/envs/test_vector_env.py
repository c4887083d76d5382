"""`gymnasium.make_vec` and LeRobot's EnvHub: several environments, in this process and in spawned ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

import envs
from envs.errors import UserError
from envs.tabletop.env import TabletopEnv

SMALL = {"head_size": (24, 32), "wrist_size": (16, 16)}
STEPS = 2  # per episode
ENV_HUB = Path(envs.__file__).with_name("env_hub.py")


def run(mode: str, autoreset: AutoresetMode) -> list[tuple[Any, ...]]:
    """A reset and three steps that keep the joints where they are; episodes end after two."""
    options: dict[str, Any] = {"autoreset_mode": autoreset} | ({"context": "spawn"} if mode == "async" else {})
    vector = gym.make_vec(
        "RoboTwin/click_bell-v0",
        num_envs=2,
        vectorization_mode=mode,
        vector_kwargs=options,
        max_episode_steps=STEPS,
        **SMALL,
    )
    observation, info = vector.reset(seed=[5, 9])
    seen: list[tuple[Any, ...]] = [(observation, info)]
    for step in range(1, STEPS + 2):
        if autoreset is AutoresetMode.DISABLED and step == STEPS + 1:
            observation, info = vector.reset(seed=[7, None], options={"reset_mask": np.array([True, False])})
            seen.append((observation, info))
            continue
        observation, *rest = vector.step(observation["qpos"])
        seen.append((observation, *rest))
    vector.close()
    return seen


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, np.ndarray) and one.dtype == object:  # Gymnasium's `final_obs`: a dict per environment
        return len(one) == len(other) and all(map(equal, one, other))
    return np.array_equal(one, other)


@pytest.mark.parametrize("autoreset", list(AutoresetMode), ids=lambda mode: mode.value)
def test_make_vec_resets_in_every_mode_and_processes_change_nothing(autoreset: AutoresetMode) -> None:
    seen = run("sync", autoreset)
    (first, info), (_, _, _, early, _), (end, reward, terminated, truncated, after) = seen[:3]
    assert info["seed"].tolist() == [5, 9] and len(info["instruction"]) == 2
    alone = TabletopEnv("click_bell", **SMALL)  # pyright: ignore[reportArgumentType]
    for place, seed in enumerate((5, 9)):
        expected, _ = alone.reset(seed=seed)
        assert equal(expected, {key: value[place] for key, value in first.items()})
    assert not early.any() and truncated.all() and not terminated.any() and not reward.any()
    if autoreset is AutoresetMode.SAME_STEP:
        assert after["final_info"]["seed"].tolist() == [5, 9] and not set(after["seed"]) & {5, 9}
        assert not np.array_equal(after["final_obs"][0]["head_camera"], end["head_camera"][0])
    elif autoreset is AutoresetMode.NEXT_STEP:
        (_, reward, _, truncated, info) = seen[3]
        assert after["seed"].tolist() == [5, 9] and not set(info["seed"]) & {5, 9}
        assert not reward.any() and not truncated.any()
    else:
        reset, info = seen[3]
        assert info["seed"][0] == 7 and equal(reset["head_camera"][1], end["head_camera"][1])
        assert not np.array_equal(reset["head_camera"][0], end["head_camera"][0])
    for ours, theirs in zip(seen, run("async", autoreset), strict=True):
        assert all(equal(one, other) for one, other in zip(ours, theirs, strict=True))


def make_env(*args: Any, **kwargs: Any) -> dict[str, dict[int, VectorEnv]]:
    """As LeRobot calls it: the file is loaded from where the Hub's cache has it, without its folder."""
    spec = importlib.util.spec_from_file_location("hub_env_someone_aim_rl", ENV_HUB)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_env(*args, **kwargs)


@pytest.mark.parametrize(("use_async_envs", "kind"), [(False, SyncVectorEnv), (True, AsyncVectorEnv)])
def test_lerobots_env_hub_gets_its_observations_attributes_and_success(use_async_envs: bool, kind: type) -> None:
    """An episode of the expert, as LeRobot's `rollout` drives it."""
    expert = TabletopEnv("click_bell", **SMALL).demonstrate(21)  # pyright: ignore[reportArgumentType]
    assert expert is not None
    made = make_env(n_envs=1, use_async_envs=use_async_envs, cfg=SimpleNamespace(task="click_bell"))
    vector = made["RoboTwin"][0]
    assert isinstance(vector, kind) and list(made["RoboTwin"]) == [0]
    observation, info = vector.reset(seed=[21], options={"lerobot_new_rollout": True})
    assert vector.call("task") == ("click_bell",) and vector.call("_max_episode_steps")[0] >= len(expert.action)
    assert vector.call("task_description") == tuple(info["instruction"])
    assert vector.metadata["render_fps"] == 17 and vector.call("render")[0].shape == (480, 640, 3)
    for action in expert.action:
        assert observation["agent_pos"].shape == (1, 14)
        assert {name: image.shape for name, image in observation["pixels"].items()} == {
            camera: (1, 240, 320, 3) for camera in ("head_camera", "left_camera", "right_camera")
        }
        observation, reward, terminated, _, info = vector.step(action[None])
    assert reward[0] == 1 and terminated[0] and info["final_info"]["is_success"].tolist() == [True]
    vector.close()


def test_the_task_of_the_env_hub_is_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTWIN_TASK", "click_bell")
    assert make_env(n_envs=3)["RoboTwin"][0].call("task") == ("click_bell",) * 3
    assert make_env(cfg=SimpleNamespace(task=None))["RoboTwin"][0].call("task") == ("click_bell",)
    monkeypatch.setenv("ROBOTWIN_TASK", "click_bel")
    with pytest.raises(UserError, match="did you mean 'click_bell'"):
        make_env()

"""The tasks as LeRobot's environments: its names of observations and attributes, for its EnvHub (`envs/env_hub.py`).

Neither LeRobot nor torch is needed here.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from envs import make_env as make_task_env
from envs import resolve_task
from envs.base import Observation, TaskEnv
from envs.constants import CAMERAS

SUITE = "RoboTwin"
TASK_VARIABLE = "ROBOTWIN_TASK"


class LeRobotEnv(gym.Wrapper[Observation, NDArray[np.float32], Observation, NDArray[np.float32]]):
    """Observes what LeRobot's policies read; takes joint targets f32 [14] as its datasets of RoboTwin hold them.

    The observation is `pixels`, a dict of the cameras u8 [240, 320, 3], and `agent_pos` f32 [14], the commanded joints:
    `observation.images.<camera>` and `observation.state` in a dataset (docs/data.md).

    Args:
        env: in the action mode "joint".

    Attributes:
        task: RoboTwin's name.
        task_description: the instruction of the present episode.
    """

    def __init__(self, env: TaskEnv) -> None:
        super().__init__(env)
        self._task_env = env
        self.task, self._max_episode_steps = env.task_name, env.step_limit
        spaces: Any = env.observation_space
        pixels = gym.spaces.Dict({camera: spaces[camera] for camera in CAMERAS})
        self.observation_space: Any = gym.spaces.Dict({"pixels": pixels, "agent_pos": spaces["qpos"]})

    @property
    def task_description(self) -> str:
        return self._task_env.instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return _as_lerobot(observation), info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _as_lerobot(observation), float(reward), terminated, truncated, info


def _as_lerobot(observation: Observation) -> Any:
    return {"pixels": {camera: observation[camera] for camera in CAMERAS}, "agent_pos": observation["qpos"]}


def make_env(n_envs: int = 1, use_async_envs: bool = False, cfg: Any = None) -> dict[str, dict[int, VectorEnv]]:
    """What LeRobot's EnvHub calls: the environments of one task, as its `make_env` returns them.

    The task is the one that `cfg` names (LeRobot's `HubEnvConfig`), else that of the variable ROBOTWIN_TASK, else
    stack_blocks_two.

    Args:
        n_envs: environments.
        use_async_envs: in a process each; the processes are spawned, because a renderer does not survive a fork.
        cfg: LeRobot's configuration, if it was given one.

    Raises:
        UserError: no such task.
    """
    task = resolve_task(getattr(cfg, "task", None) or os.environ.get(TASK_VARIABLE, "stack_blocks_two"))
    make = [functools.partial(_make_one, task)] * n_envs
    again = AutoresetMode.SAME_STEP  # as LeRobot's own: success is read from `final_info`
    if use_async_envs:
        return {SUITE: {0: AsyncVectorEnv(make, context="spawn", autoreset_mode=again)}}
    return {SUITE: {0: SyncVectorEnv(make, autoreset_mode=again)}}


def _make_one(task: str) -> LeRobotEnv:
    return LeRobotEnv(make_task_env(task, render_mode="rgb_array"))

"""Gymnasium wrappers for reinforcement learning: action chunks and same-seed groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.base import Observation, TaskEnv
from envs.observations import finite


def extend_space(space: gym.Space[Any], more: Mapping[str, gym.Space[Any]]) -> Any:
    """A Dict space with more keys. (Gymnasium's type, a space of spaces, fits no wrapper.)"""
    assert isinstance(space, gym.spaces.Dict)
    return gym.spaces.Dict({**space.spaces, **more})


class ChunkEnv(gym.Wrapper[Observation, NDArray[np.float32], Observation, NDArray[np.float32]]):
    """Executes chunks of actions and renders one observation per chunk.

    The action is f32 [execute, action_dim], one row per control step; the rest of a chunk is not executed once
    the episode has ended. The reward is the sum over the chunk (0 or 1). The observation gains

    - `step_success` bool [execute]: control step j was the first to succeed,
    - `executed` bool [execute]: control step j was executed,
    - `progress` f32 [execute]: `TaskEnv.progress` after control step j, after a reset that of the start.

    Args:
        env: an environment of a task.
        execute: control steps per chunk.
        step_limit: truncates earlier than RoboTwin's limit (a training horizon), in control steps.
    """

    def __init__(self, env: TaskEnv, execute: int, step_limit: int | None = None) -> None:
        super().__init__(env)
        self.task_env = env
        self.execute = execute
        self.step_limit = env.step_limit if step_limit is None else min(step_limit, env.step_limit)
        base = env.action_space
        assert isinstance(base, gym.spaces.Box)
        tile = [np.broadcast_to(bound, (execute, *base.shape)).copy() for bound in (base.low, base.high)]
        self.action_space = gym.spaces.Box(tile[0], tile[1], dtype=np.float32)
        flag: Any = gym.spaces.Box(0, 1, (execute,), np.bool_)  # pyright: ignore  # its stubs know no bool
        flags = {"step_success": flag, "executed": flag, "progress": gym.spaces.Box(0, 1, (execute,), np.float32)}
        self.observation_space = extend_space(env.observation_space, flags)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        nothing = np.zeros(self.execute, dtype=bool)
        progress = np.full(self.execute, self.task_env.progress(), np.float32)
        return observation | {"step_success": nothing, "executed": nothing, "progress": progress}, info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        if np.shape(action) != self.action_space.shape:
            raise ValueError(f"chunk has shape {np.shape(action)}, this environment takes {self.action_space.shape}")
        success, executed = np.zeros(self.execute, dtype=bool), np.zeros(self.execute, dtype=bool)
        progress = np.zeros(self.execute, np.float32)
        for j, row in enumerate(action):
            success[j] = self.task_env.control(row)
            executed[j] = True
            progress[j:] = self.task_env.progress()
            if success[j] or self.task_env.steps >= self.step_limit:
                break
        solved = bool(success.any())
        truncated = not solved and self.task_env.steps >= self.step_limit
        observation = self.task_env.observe() | {"step_success": success, "executed": executed, "progress": progress}
        return observation, float(solved), solved, truncated, self.task_env.info(solved)


class FiniteObservations(gym.ObservationWrapper[Observation, NDArray[np.float32], Observation]):
    """Raises FloatingPointError where the simulation observes NaN or infinity, before a policy learns from it."""

    def observation(self, observation: Observation) -> Observation:
        return finite(observation)


class EpisodePrefix(NamedTuple):
    """An episode so far: the same actions on the same seed repeat it bit for bit, which a `Snapshot` does not."""

    seed: int
    actions: tuple[NDArray[np.float32], ...] = ()


class SeedSchedule(gym.Wrapper[Observation, NDArray[np.float32], Observation, NDArray[np.float32]]):
    """Decides the seed of every reset, so that groups of environments roll out the same scenes.

    A reset without a seed takes the next episode of the schedule (TorchRL's automatic resets pass none). If that
    episode has actions, the reset repeats them and returns the observation after the last one. The observation gains
    i64 [1] each: `seed`, `decision` (how many steps in this episode) and `restarts` (how often the simulator's process
    was lost and replaced since this episode's reset).

    Args:
        env: the environment.
        episodes: the schedule; must not run out.

    Attributes:
        prefix: the current episode so far.
    """

    def __init__(self, env: gym.Env[Observation, NDArray[np.float32]], episodes: Iterator[EpisodePrefix]) -> None:
        super().__init__(env)
        self._episodes = episodes
        self.prefix: EpisodePrefix
        self._restarts_before = 0
        count = gym.spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (1,), np.int64)
        keys = {key: count for key in ("seed", "decision", "restarts")}
        self.observation_space = extend_space(env.observation_space, keys)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        self.prefix = next(self._episodes) if seed is None else EpisodePrefix(seed)
        self._restarts_before = self._restarts()
        observation, info = self.env.reset(seed=self.prefix.seed, options=options)
        for action in self.prefix.actions:
            observation, _, _, _, info = self.env.step(action)
        return observation | self._keys(), info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.prefix = EpisodePrefix(self.prefix.seed, (*self.prefix.actions, np.array(action)))
        return observation | self._keys(), float(reward), terminated, truncated, info

    def _restarts(self) -> int:
        return self.env.get_wrapper_attr("restarts")

    def _keys(self) -> Observation:
        seed, actions = self.prefix
        keys = {"seed": seed, "decision": len(actions), "restarts": self._restarts() - self._restarts_before}
        return {key: np.array([number]) for key, number in keys.items()}

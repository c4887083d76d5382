"""Environments for TorchRL: seeded, in action chunks, several in one process."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from torchrl.envs import GymWrapper, SerialEnv

from aim_rl.model import Tokenize
from aim_rl.model.presets import Preset
from envs.backend import TABLETOP, Backend
from envs.base import Observation
from envs.wrappers import ChunkEnv, EpisodePrefix, FiniteObservations, SeedSchedule, extend_space


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """What the worker processes roll out."""

    task: str
    setting: str
    preset: Preset
    """Image sizes and text length."""
    tokenize: Tokenize
    """The model's `text.tokenize`."""
    execute: int
    """Control steps per decision."""
    step_limit: int | None = None
    """Control steps per episode; None: RoboTwin's limit."""
    workers: int
    """Processes."""
    envs_per_worker: int
    group_size: int = 1
    """Rollouts of one seed."""
    first_seed: int
    last_seed: int | None = None
    """Last evaluation seed; idle environments run it again. None: seeds never run out (training)."""
    simulator: Backend = TABLETOP
    evaluation: bool = False
    """Textures of RoboTwin's evaluation (`Backend.make`)."""
    instructions: str = "seen"
    """seen or unseen."""


class InstructionTokens(gym.ObservationWrapper):
    """Adds `text` i64 [L], the tokenised instruction of the episode."""

    def __init__(self, env: gym.Env, preset: Preset, tokenize: Tokenize) -> None:
        super().__init__(env)
        self._tokenize = tokenize
        text = gym.spaces.Box(0, preset.vocab - 1, (preset.text_length,), np.int64)
        self.observation_space = extend_space(env.observation_space, {"text": text})

    def observation(self, observation: Observation) -> Observation:
        instruction = self.get_wrapper_attr("instruction")
        return observation | {"text": self._tokenize(instruction).numpy()}


def make_env(config: RolloutConfig, schedule: Iterator[EpisodePrefix]) -> GymWrapper:
    """One environment; every reset takes the next episode of the schedule."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread: the processes are the parallelism
    preset = config.preset
    env = config.simulator.make(
        config.task,
        config.setting,
        preset.head_size,
        preset.wrist_size,
        action_mode="ee",
        evaluation=config.evaluation,
        instructions=config.instructions,
    )
    chunked = FiniteObservations(ChunkEnv(env, config.execute, config.step_limit))
    return GymWrapper(InstructionTokens(SeedSchedule(chunked, schedule), preset, config.tokenize))


def make_envs(config: RolloutConfig, worker: int, schedule: Iterator[EpisodePrefix] | None = None) -> SerialEnv:
    """The environments of one process. They share a schedule, by default that of the worker's seeds.

    Worker w takes the seeds first + w, first + w + workers and so on. The first `group_size` free environments roll
    out a group, so its rollouts start close together and are complete before the policy has changed much.
    """
    if schedule is None:
        schedule = new_episodes(config, itertools.count(config.first_seed + worker, config.workers))
    return SerialEnv(config.envs_per_worker, [functools.partial(make_env, config, schedule)] * config.envs_per_worker)


def new_episodes(config: RolloutConfig, seeds: Iterable[int]) -> Iterator[EpisodePrefix]:
    """`group_size` new episodes of each seed."""
    return (EpisodePrefix(seed) for seed in seeds for _ in range(config.group_size))

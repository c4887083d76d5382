"""Environments for TorchRL: seeded, chunked, several in a process."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from torchrl.envs import GymWrapper, ParallelEnv, SerialEnv

from aim_rl.backend import TABLETOP, Backend
from aim_rl.model import Tokenize
from aim_rl.model.presets import Preset
from envs.tabletop.env import Observation
from envs.wrappers import Begun, ChunkEnv, FiniteObservations, SeedSchedule, extend_space


@dataclass(frozen=True)
class RolloutConfig:
    """What the worker processes run."""

    task: str
    setting: str
    preset: Preset
    execute: int  # control steps per decision
    step_limit: int | None  # control steps per episode; None: RoboTwin's
    workers: int  # processes
    scenes: int  # scenes per process
    group: int  # rollouts of one seed
    first_seed: int
    tokenize: Tokenize  # the model's `text.tokenize`
    simulator: Backend = TABLETOP
    evaluation: bool = False  # as RoboTwin evaluates (see `Backend.make`)
    instructions: str = "seen"  # or "unseen" wordings

    @property
    def pool(self) -> int:
        return self.workers * self.scenes


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


def make_scene(config: RolloutConfig, schedule: Iterator[Begun]) -> GymWrapper:
    """One scene of the pool, which takes its next episode from the schedule whenever it is free."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread: the processes are the parallelism
    preset = config.preset
    sizes = (preset.head_size, preset.wrist_size)
    options = ("ee", config.evaluation, config.instructions)
    env = config.simulator.make(config.task, config.setting, *sizes, *options)
    chunked = FiniteObservations(ChunkEnv(env, config.execute, config.step_limit))
    return GymWrapper(InstructionTokens(SeedSchedule(chunked, schedule), preset, config.tokenize))


def make_worker(config: RolloutConfig, worker: int, schedule: Iterator[Begun] | None = None) -> SerialEnv:
    """The scenes of one process. They share a schedule: worker w takes seeds first + w, first + w + workers and so on.

    A group is rolled out by the first `group` scenes that are free, so its rollouts start close together and
    are whole before the policy has moved far; with a schedule for each scene, lucky scenes ran ever further ahead.
    Another `schedule` stands in for the worker's own.
    """
    if schedule is None:
        schedule = whole_turns(config, itertools.count(config.first_seed + worker, config.workers))
    return SerialEnv(config.scenes, [functools.partial(make_scene, config, schedule)] * config.scenes)


def whole_turns(config: RolloutConfig, seeds: Iterable[int]) -> Iterator[Begun]:
    """The episodes of a group of each seed."""
    return (Begun(seed) for seed in seeds for _ in range(config.group))


def make_pool(config: RolloutConfig) -> ParallelEnv:
    """The scenes of all workers for a policy in this process, batch [workers, scenes]."""
    workers = [functools.partial(make_worker, config, worker) for worker in range(config.workers)]
    # With buffers, TorchRL 0.14 waits for its workers by spinning, on a core that they need.
    return ParallelEnv(config.workers, workers, mp_start_method="spawn", use_buffers=False)

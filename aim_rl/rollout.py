"""Parallel environments for TorchRL: seeded, chunked, in worker processes that each hold several scenes."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from torchrl.collectors import BaseCollector, Collector
from torchrl.envs import GymWrapper, ParallelEnv, SerialEnv

from aim_rl.backend import TABLETOP, Backend
from aim_rl.model import Tokenize
from aim_rl.model.presets import Preset
from aim_rl.policy import AimPolicy
from envs.tabletop.env import Observation
from envs.wrappers import ChunkEnv, SeedSchedule, extend_space


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


def make_scene(config: RolloutConfig, schedule: Iterator[int]) -> GymWrapper:
    """One scene of the pool, which takes its next seed from the schedule whenever it is free."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread: the processes are the parallelism
    preset = config.preset
    sizes = (preset.head_size, preset.wrist_size)
    options = ("ee", config.evaluation, config.instructions)
    env = config.simulator.make(config.task, config.setting, *sizes, *options)
    chunked = ChunkEnv(env, config.execute, config.step_limit)
    return GymWrapper(InstructionTokens(SeedSchedule(chunked, schedule), preset, config.tokenize))


def make_worker(config: RolloutConfig, worker: int) -> SerialEnv:
    """The scenes of one process. They share a schedule: worker w takes seeds first + w, first + w + workers and so on.

    A group is rolled out by the first `group` scenes that are free, so its rollouts start close together and
    are whole before the policy has moved far; with a schedule for each scene, lucky scenes ran ever further ahead.
    """
    mine = itertools.count(config.first_seed + worker, config.workers)
    schedule = (seed for seed in mine for _ in range(config.group))
    return SerialEnv(config.scenes, [functools.partial(make_scene, config, schedule)] * config.scenes)


def make_seeded_worker(config: RolloutConfig, worker: int, torch_seed: int) -> SerialEnv:
    """The scenes of one collector process, which explores with the noise of its own seed."""
    torch.manual_seed(torch_seed)
    return make_worker(config, worker)


def make_collector(config: RolloutConfig, policy: AimPolicy, torch_seed: int) -> BaseCollector:
    """Whole trajectories from one collector process per worker, each with the policy beside its scenes.

    A process that renders, simulates and decides keeps its core busy and sends whole batches; with the policy in the
    main process the cores waited for each other at every decision. Collection is synchronous: the processes rest
    during an update, whose weights they share, so what they do depends on the seeds alone.
    """
    seeds = range(torch_seed * config.workers, (torch_seed + 1) * config.workers)
    workers = [functools.partial(make_seeded_worker, config, worker, seed) for worker, seed in enumerate(seeds)]
    return Collector(
        workers,
        policy,
        num_collectors=config.workers,
        sync=True,
        frames_per_batch=4 * config.pool,
        trajs_per_batch=config.group,
        traj_format="padded",
        auto_register_policy_transforms=False,
        num_threads=torch.get_num_threads(),  # of this process, which TorchRL would set to 1
    )


def make_pool(config: RolloutConfig) -> ParallelEnv:
    """The scenes of all workers for a policy in this process, batch [workers, scenes]."""
    workers = [functools.partial(make_worker, config, worker) for worker in range(config.workers)]
    # With buffers, TorchRL 0.14 waits for its workers by spinning, on a core that they need.
    return ParallelEnv(config.workers, workers, mp_start_method="spawn", use_buffers=False)

"""Environments for TorchRL: seeded, chunked, several in a process."""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import GymWrapper, SerialEnv

from aim_rl.model import Tokenize
from aim_rl.model.presets import Preset
from aim_rl.rollout.worker import ANSWER_TIMEOUT, ATTEMPTS, Worker, WorkerLost, send_answer
from envs.backend import TABLETOP, Backend
from envs.errors import UserError
from envs.tabletop.env import Observation
from envs.wrappers import ChunkEnv, EpisodePrefix, FiniteObservations, SeedSchedule, extend_space

Arrays = dict[str | tuple[str, ...], NDArray[np.generic]]


@dataclass(frozen=True)
class RolloutConfig:
    """What the worker processes run."""

    task: str
    setting: str
    preset: Preset
    execute: int  # control steps per decision
    step_limit: int | None  # control steps per episode; None: RoboTwin's
    workers: int  # processes
    envs_per_worker: int  # environments per process
    group_size: int  # rollouts of one seed
    first_seed: int
    tokenize: Tokenize  # the model's `text.tokenize`
    simulator: Backend = TABLETOP
    evaluation: bool = False  # as RoboTwin evaluates (see `Backend.make`)
    instructions: str = "seen"  # or "unseen" wordings
    last_seed: int | None = None  # of `Scenes`, whose free scenes then repeat one; None: there is always another one

    @property
    def pool(self) -> int:
        return self.workers * self.envs_per_worker


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


def make_scene(config: RolloutConfig, schedule: Iterator[EpisodePrefix]) -> GymWrapper:
    """One scene of the pool, which takes its next episode from the schedule whenever it is free."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread: the processes are the parallelism
    preset = config.preset
    sizes = (preset.head_size, preset.wrist_size)
    options = ("ee", config.evaluation, config.instructions)
    env = config.simulator.make(config.task, config.setting, *sizes, *options)
    chunked = FiniteObservations(ChunkEnv(env, config.execute, config.step_limit))
    return GymWrapper(InstructionTokens(SeedSchedule(chunked, schedule), preset, config.tokenize))


def make_worker(config: RolloutConfig, worker: int, schedule: Iterator[EpisodePrefix] | None = None) -> SerialEnv:
    """The scenes of one process. They share a schedule: worker w takes seeds first + w, first + w + workers and so on.

    A group is rolled out by the first `group` scenes that are free, so its rollouts start close together and
    are whole before the policy has moved far; with a schedule for each scene, lucky scenes ran ever further ahead.
    Another `schedule` stands in for the worker's own.
    """
    if schedule is None:
        schedule = whole_turns(config, itertools.count(config.first_seed + worker, config.workers))
    return SerialEnv(config.envs_per_worker, [functools.partial(make_scene, config, schedule)] * config.envs_per_worker)


def whole_turns(config: RolloutConfig, seeds: Iterable[int]) -> Iterator[EpisodePrefix]:
    """The episodes of a group of each seed."""
    return (EpisodePrefix(seed) for seed in seeds for _ in range(config.group_size))


class Scenes:
    """The scenes of all workers for a policy in this process: each of some seeds is rolled out once.

    A process that dies, hangs or simulates NaN is replaced by one that begins with the seeds it had not finished.

    Args:
        config: what the processes run; `config.first_seed` is the first seed, `config.last_seed` the last one, which
            leaves every process at least one.
    """

    def __init__(self, config: RolloutConfig) -> None:
        self._config = config
        self._finished: set[int] = set()
        self._fruitless = [0] * config.workers  # processes lost in a row without a finished seed
        self._workers = [self._start(worker) for worker in range(config.workers)]

    def _start(self, worker: int) -> Worker:
        return Worker(_host, self._config, worker, self._finished)

    def reset(self) -> TensorDictBase:
        """The first observations [workers * scenes]."""
        return self._ask([None] * self._config.workers)[0]

    def step(self, action: Tensor) -> tuple[TensorDictBase, dict[int, bool]]:
        """One decision of every scene.

        Args:
            action: chunks [workers * scenes, execute, action size].

        Returns:
            The next observations; seed -> success of the episodes that ended.

        Raises:
            UserError: three processes in a row were lost without a finished seed, or one of them says what the user
                should fix.
        """
        return self._ask(action.numpy().reshape(self._config.workers, self._config.envs_per_worker, *action.shape[1:]))

    def _ask(self, requests: Iterable[Any]) -> tuple[TensorDictBase, dict[int, bool]]:
        for worker, request in zip(self._workers, requests, strict=True):
            worker.ask(request)
        observations, ended = [], {}
        for worker in range(len(self._workers)):
            arrays, outcome = self._answer(worker)
            observations.append(as_tensors(arrays))
            ended |= outcome
        self._finished |= set(ended)
        return cast(TensorDictBase, torch.cat(observations)), ended

    def _answer(self, worker: int) -> tuple[Arrays, dict[int, bool]]:
        while True:
            try:
                arrays, outcome = self._workers[worker].answer(ANSWER_TIMEOUT)
            except WorkerLost as loss:
                self._fruitless[worker] += 1
                if self._fruitless[worker] == ATTEMPTS:
                    raise UserError(
                        f"a simulator process {loss}, the third in a row without a finished episode; if memory is "
                        "short, take fewer --workers"
                    ) from loss
                warnings.warn(f"a simulator process {loss}; another one goes on with its seeds", stacklevel=5)
                self._workers[worker] = self._start(worker)
                self._workers[worker].ask(None)
            else:
                if outcome:
                    self._fruitless[worker] = 0
                return arrays, outcome

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.close()


def _host(channel: Connection, config: RolloutConfig, worker: int, finished: set[int]) -> None:
    """The process of `Scenes`: takes None, then chunks [scenes, execute, action size]."""
    torch.set_num_threads(1)
    first, last = config.first_seed + worker, config.last_seed
    mine = itertools.count(first, config.workers) if last is None else range(first, last + 1, config.workers)
    seeds = (seed for seed in mine if seed not in finished)
    if isinstance(mine, range):
        # Another seed would cost RoboTwin's expert, who has been asked about this one.
        seeds = itertools.chain(seeds, itertools.repeat(mine[-1]))
    env = make_worker(config, worker, whole_turns(config, seeds))
    try:
        tensordict, ended = env.reset(), {}
        while True:
            request = channel.recv()
            if request is not None:
                tensordict["action"] = torch.from_numpy(request)
                tensordict, following = env.step_and_maybe_reset(tensordict)
                done, success = tensordict["next", "done"], tensordict["next", "terminated"]
                ended = dict(zip(tensordict["seed"][done].tolist(), success[done].tolist(), strict=True))
                tensordict = following
            send_answer(channel, (as_arrays(tensordict), ended))
    finally:
        env.close()


def as_arrays(tensordict: TensorDictBase) -> Arrays:
    """For another process: a tensor would go as a handle of shared memory, which dies with the process that sent it."""
    return {key: cast(Tensor, tensor).numpy() for key, tensor in tensordict.items(True, True)}


def as_tensors(arrays: Arrays) -> TensorDictBase:
    """`as_arrays` undone, with one batch axis."""
    tensordict = TensorDict({}, [len(next(iter(arrays.values())))])
    for key, array in arrays.items():
        tensordict[key] = torch.from_numpy(array)
    return tensordict


Packed = Mapping[str, Any]
"""Rollouts end to end, as arrays, and their lengths: for another process, or for a file."""


def pack(rollouts: Sequence[TensorDictBase]) -> Packed:
    """Of rollouts [T]."""
    decisions = as_arrays(cast(TensorDictBase, torch.cat(list(rollouts)))) if rollouts else {}
    return {"lengths": [len(rollout) for rollout in rollouts], "decisions": decisions}


def unpack(packed: Packed) -> list[TensorDictBase]:
    """`pack` undone."""
    lengths = packed["lengths"]
    return list(as_tensors(packed["decisions"]).split(lengths)) if lengths else []

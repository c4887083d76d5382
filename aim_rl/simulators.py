"""Stage II's rollouts: worker processes with the policy beside their scenes, replaced when they die or hang."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torchrl.collectors import Collector

from aim_rl.groups import whole_groups, whole_rollouts
from aim_rl.policy import AimPolicy
from aim_rl.rollout import RolloutConfig, make_worker
from aim_rl.workers import Worker, WorkerLost, send_answer
from envs.errors import UserError

DECISIONS = 4  # of every scene, from one look at the weights to the next
FIRST_TIME = 1800.0  # seconds that a process may take for its first round: RoboTwin loads, and its expert tries seeds
PATIENCE = 60.0  # seconds that a later round may take at least ...
TIMES_SLOWEST = 10  # ... and so many times what the slowest one took, before the process counts as hung
ATTEMPTS = 3  # processes in a row that may be lost without a single group between

Arrays = dict[str | tuple[str, ...], NDArray[np.generic]]


class Simulators:
    """Whole same-seed groups from `config.workers` processes; iterates over lists of rollouts [T].

    A process that renders, simulates and decides keeps its core busy; with the policy in the main process the cores
    waited for each other at every decision. Every process takes the same number of decisions per round and rests
    between them, so what they do depends on the seeds alone, as long as none is lost. They share the policy's weights.

    A process that dies, hangs or simulates NaN is replaced. Groups that were not whole go with it; their seeds come
    first in the new process. One of them may be what kills it: when a second process is lost before the first of
    these seeds is through, that seed is given up.

    Args:
        config: what the processes run.
        policy: decides; its weights are moved to shared memory.
        seed: of the exploration noise.
        more: keys of the rollouts beside `KEPT`.

    Attributes:
        restarts: how many processes have been replaced; whoever has read it may set it back to 0.

    Raises:
        UserError: while iterating: three processes in a row were lost without a group between, or one of them says
            what the user should mend.
    """

    def __init__(self, config: RolloutConfig, policy: AimPolicy, seed: int, more: tuple[str, ...] = ()) -> None:
        policy.share_memory()
        workers, generators = range(config.workers), range(seed * config.workers, (seed + 1) * config.workers)
        self.restarts = 0
        self._crews: list[_Crew] = []
        for worker, noise in zip(workers, generators, strict=True):
            self._crews.append(_Crew(config, policy, worker, noise, more))

    def __iter__(self) -> Iterator[list[TensorDictBase]]:
        while True:
            for crew in self._crews:
                crew.ask()
            lost = sum(crew.lost for crew in self._crews)
            rollouts = [rollout for crew in self._crews for rollout in crew.answer()]
            self.restarts += sum(crew.lost for crew in self._crews) - lost
            yield rollouts

    def shutdown(self) -> None:
        """Ends the processes."""
        for crew in self._crews:
            crew.close()


class _Crew:
    """One worker's place: the process that has it now, and how far its seeds have come."""

    def __init__(
        self, config: RolloutConfig, policy: AimPolicy, worker: int, noise: int, more: tuple[str, ...]
    ) -> None:
        self._args = config, policy, worker, more
        self._noise = noise
        self._seeds = itertools.count(config.first_seed + worker, config.workers)
        self._oldest = next(self._seeds)  # the first seed that is not through
        self._through: set[int] = set()  # later ones that are
        self._broken_at: int | None = None
        self._fruitless = self.lost = 0
        self._slowest = 0.0
        self._start()

    def _start(self) -> None:
        self._process = Worker(_simulate, *self._args, self._noise, self.lost, self._oldest, self._through)
        self._fresh, self._asked = True, 0.0

    def ask(self) -> None:
        self._asked = time.monotonic()
        self._process.ask("go on")

    def answer(self) -> list[TensorDictBase]:
        patience = FIRST_TIME if self._fresh else max(PATIENCE, TIMES_SLOWEST * self._slowest)
        try:
            answer: list[Arrays] = self._process.answer(patience)
        except WorkerLost as loss:
            self._replace(loss)
            return []
        if not self._fresh:
            self._slowest = max(self._slowest, time.monotonic() - self._asked)
        self._fresh = False
        rollouts = [_as_tensors(arrays) for arrays in answer]
        if rollouts:
            self._fruitless = 0
        self._through |= {int(rollout["seed"][0]) for rollout in rollouts}
        self._advance()
        return rollouts

    def _advance(self) -> None:
        while self._oldest in self._through:
            self._through.remove(self._oldest)
            self._oldest = next(self._seeds)

    def _replace(self, loss: WorkerLost) -> None:
        self.lost += 1
        self._fruitless += 1
        if self._fruitless == ATTEMPTS:
            raise UserError(
                f"a simulator process {loss}, the third in a row without a finished group (seed {self._oldest}); "
                "if memory is short, take fewer --scenes or --workers"
            )
        given_up = ""
        if self._broken_at == self._oldest:
            given_up = f", without seed {self._oldest}, which broke two in a row"
            self._through.add(self._oldest)
            self._advance()
        self._broken_at = self._oldest
        warnings.warn(f"a simulator process {loss}; another one goes on at seed {self._oldest}{given_up}", stacklevel=4)
        self._start()

    def close(self) -> None:
        self._process.close()


def _simulate(
    channel: Connection,
    config: RolloutConfig,
    policy: AimPolicy,
    worker: int,
    more: tuple[str, ...],
    noise: int,
    lost: int,
    first_seed: int,
    through: set[int],
) -> None:
    """The process: at every request, `DECISIONS` of each scene, and the rollouts of the groups they complete."""
    torch.set_num_threads(1)
    torch.manual_seed(noise + 2**32 * lost)
    seeds = (seed for seed in itertools.count(first_seed, config.workers) if seed not in through)
    collector = Collector(
        make_worker(config, worker, seeds),
        policy,
        frames_per_batch=DECISIONS * config.scenes,
        total_frames=-1,
        auto_register_policy_transforms=False,
    )
    groups = whole_groups(whole_rollouts(collector, more), config.group)
    while True:
        channel.recv()
        send_answer(channel, [_as_arrays(rollout) for rollout in next(groups)])


def _as_arrays(rollout: TensorDictBase) -> Arrays:
    """A tensor would be sent as a handle of shared memory, which dies with the process that sent it."""
    return {key: tensor.numpy() for key, tensor in rollout.items(True, True)}  # pyright: ignore[reportAttributeAccessIssue]


def _as_tensors(arrays: Arrays) -> TensorDictBase:
    length = len(next(iter(arrays.values())))
    rollout = TensorDict({}, [length])
    for key, array in arrays.items():
        rollout[key] = torch.from_numpy(array)
    return rollout

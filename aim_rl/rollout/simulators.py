"""Stage II's rollouts: worker processes with the policy beside their scenes, replaced when they die or hang."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, cast

import numpy as np
import torch
from tensordict import TensorDictBase
from torchrl.collectors import Collector

from aim_rl.model.history import History
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.environments import RolloutConfig, make_worker, pack, unpack, whole_turns
from aim_rl.rollout.groups import PartialRollouts, whole_groups, whole_rollouts
from aim_rl.rollout.seeds import torch_seed
from aim_rl.rollout.worker import ANSWER_TIMEOUT, ATTEMPTS, Worker, WorkerLost, send_answer
from envs.errors import UserError
from envs.wrappers import EpisodePrefix

DECISIONS = 4  # of every scene, from one look at the weights to the next
MIN_TIMEOUT = 60.0  # seconds that a round may take at least, after a process's first ...
TIMES_SLOWEST = 10  # ... and so many times what the slowest one took, before the process counts as hung

Snapshot = dict[str, Any]
"""What a process needs to go on where another was: numbers, lists and numpy arrays."""


class Simulators:
    """Whole same-seed groups from `config.workers` processes; iterates over lists of rollouts [T].

    A process that renders, simulates and decides keeps its core busy; with the policy in the main process the cores
    waited for each other at every decision. Every process takes the same number of decisions per round and rests
    between them, so what they do depends on the seeds alone, as long as none is lost. They share the policy's weights,
    also those on a GPU (CUDA IPC); rollouts come on the CPU.

    A process that dies, hangs or simulates NaN is replaced. Groups that were not whole go with it; their seeds come
    first in the new process. One of them may be what kills it: when a second process is lost before the first of
    these seeds is through, that seed is given up.

    Args:
        config: what the processes run.
        policy: decides; its weights are moved to shared memory.
        seed: of the exploration noise.
        more: keys of the rollouts beside `KEPT`.

    Attributes:
        restarts: how many processes have been replaced, those before `load_state_dict` included.

    Raises:
        UserError: while iterating: three processes in a row were lost without a group between, or one of them says
            what the user should fix.
    """

    def __init__(self, config: RolloutConfig, policy: AimPolicy, seed: int, more: tuple[str, ...] = ()) -> None:
        policy.share_memory()
        workers, generators = range(config.workers), range(seed * config.workers, (seed + 1) * config.workers)
        self._crews: list[_Crew] = []
        for worker, noise in zip(workers, generators, strict=True):
            self._crews.append(_Crew(config, policy, worker, noise, more))

    @property
    def restarts(self) -> int:
        return sum(crew.lost for crew in self._crews)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on, between two rounds: seeds, noise, unfinished groups, and what every scene has done.

        Physics cannot be saved: a new process will reset its scenes to their seeds and repeat their actions.
        """
        return {"crews": [crew.state_dict() for crew in self._crews]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """To be called before the first round. Raises ValueError if the number of processes or scenes is another."""
        for crew, saved in zip(self._crews, state["crews"], strict=True):
            crew.load_state_dict(saved)

    def __iter__(self) -> Iterator[list[TensorDictBase]]:
        while True:
            for crew in self._crews:
                crew.ask()
            yield [rollout for crew in self._crews for rollout in crew.answer()]

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
        self._snapshot: Snapshot | None = None  # what the first process begins with
        self._seeds = itertools.count(config.first_seed + worker, config.workers)
        self._oldest = next(self._seeds)  # the first seed that is not through
        self._through: set[int] = set()  # later ones that are
        self._broken_at: int | None = None
        self._fruitless = self.lost = 0
        self._slowest = 0.0
        self._process: Worker | None = None

    def _start(self) -> Worker:
        place = self._oldest, self._through, self._snapshot
        self._process, self._snapshot = Worker(_simulate, *self._args, self._noise, self.lost, *place), None
        self._fresh = True
        return self._process

    def ask(self, request: str = "go on") -> None:
        (self._process or self._start()).ask(request)

    def answer(self) -> list[TensorDictBase]:
        rollouts = [] if (answer := self._answer()) is None else unpack(answer)
        if rollouts:
            self._fruitless = 0
        self._through |= {int(rollout["seed"][0]) for rollout in rollouts}
        self._advance()
        return rollouts

    def _answer(self) -> Any:
        """None from a process that was lost."""
        assert self._process is not None
        # RoboTwin's processes have timeouts of their own, and are replaced in here; its expert may try many seeds.
        slow = self._fresh or self._args[0].simulator.backend == "robotwin"
        timeout = ANSWER_TIMEOUT if slow else max(MIN_TIMEOUT, TIMES_SLOWEST * self._slowest)
        try:
            answer = self._process.answer(timeout)
        except WorkerLost as loss:
            self._replace(loss)
            return None
        taken, value = answer
        self._slowest = max(self._slowest, taken / 3 if self._fresh else taken)  # a first round is mostly loading
        self._fresh = False
        return value

    def state_dict(self) -> dict[str, Any]:
        snapshot = None
        while snapshot is None:
            self.ask("snapshot")
            snapshot = self._answer()
        place = {"oldest": self._oldest, "through": sorted(self._through), "broken_at": self._broken_at}
        return {**place, "lost": self.lost, "fruitless": self._fruitless, "snapshot": snapshot}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        config, _, _, _ = self._args
        if len(state["snapshot"]["begun"]) != config.envs_per_worker:
            raise ValueError(
                f"it has {len(state['snapshot']['begun'])} scenes per process, not {config.envs_per_worker}"
            )
        self._oldest, self._through, self._broken_at = state["oldest"], set(state["through"]), state["broken_at"]
        self._seeds = itertools.count(self._oldest + config.workers, config.workers)
        self.lost, self._fruitless, self._snapshot = state["lost"], state["fruitless"], state["snapshot"]

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
                "if memory is short, take fewer --envs-per-worker or --workers"
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
        if self._process is not None:
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
    snapshot: Snapshot | None,
) -> None:
    """The process: at every request, `DECISIONS` of each scene, and the rollouts of the groups they complete, or a
    snapshot of all that it would need to go on from here; with the seconds that it took.
    """
    torch.set_num_threads(1)
    torch.manual_seed(torch_seed(noise, apart=lost))
    unfinished = PartialRollouts() if snapshot is None else _unfinished(snapshot)
    begun = [] if snapshot is None else [EpisodePrefix(seed, tuple(actions)) for seed, actions in snapshot["begun"]]
    seeds = (seed for seed in itertools.count(first_seed, config.workers) if seed not in through)
    env = make_worker(config, worker, _go_on(config, begun, unfinished, seeds))
    collector = Collector(
        env,
        policy,
        frames_per_batch=DECISIONS * config.envs_per_worker,
        total_frames=-1,
        auto_register_policy_transforms=False,
    )
    if snapshot is not None:  # now that the collector has tried the policy on nothing
        torch.set_rng_state(torch.from_numpy(snapshot["noise"]))
        past = [torch.from_numpy(array).to(policy.model.device) for array in snapshot["history"]]
        policy.history = History(*past) if past else None
    groups = whole_groups(whole_rollouts(collector, unfinished, more), unfinished, config.group_size)
    try:
        while True:
            request, asked = channel.recv(), time.monotonic()
            if request == "snapshot":
                answer = _take_snapshot(env.get_wrapper_attr("begun"), unfinished, policy)
            else:
                answer = pack(next(groups))
            # Timed here: the main process hears of it only once it has waited for the processes before, hung or not.
            send_answer(channel, (time.monotonic() - asked, answer))
    finally:
        env.close()


def _take_snapshot(begun: list[EpisodePrefix], unfinished: PartialRollouts, policy: AimPolicy) -> Snapshot:
    under_way = [cast(TensorDictBase, torch.cat([*pieces])) for pieces in unfinished.under_way.values()]
    return {
        "begun": [(seed, np.array(actions, np.float32)) for seed, actions in begun],
        "scenes": list(unfinished.under_way),
        "under_way": pack(under_way),
        "waiting": pack([rollout for rollouts in unfinished.waiting.values() for rollout in rollouts]),
        "noise": torch.get_rng_state().numpy(),
        "history": [tensor.cpu().numpy() for tensor in policy.history or ()],
    }


def _unfinished(snapshot: Snapshot) -> PartialRollouts:
    unfinished = PartialRollouts()
    for scene, rollout in zip(snapshot["scenes"], unpack(snapshot["under_way"]), strict=True):
        unfinished.under_way[scene].append(rollout)
    for rollout in unpack(snapshot["waiting"]):
        unfinished.waiting[int(rollout["seed"][0])].append(rollout)
    return unfinished


def _go_on(
    config: RolloutConfig, begun: list[EpisodePrefix], unfinished: PartialRollouts, seeds: Iterable[int]
) -> Iterator[EpisodePrefix]:
    """The episodes under way, scene by scene, then the rest of the last group begun, then groups of the seeds after."""
    last = max((seed for seed, _ in begun), default=-1)
    so_far = sum(seed == last for seed, _ in begun) + len(unfinished.waiting.get(last, ()))
    rest = [EpisodePrefix(last)] * (config.group_size - so_far) if begun else []
    return itertools.chain(begun, rest, whole_turns(config, (seed for seed in seeds if seed > last)))

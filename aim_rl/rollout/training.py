"""Stage II's rollouts: worker processes that hold their environments and the policy."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from tensordict import TensorDictBase
from torchrl.collectors import Collector

from aim_rl.model.history import History
from aim_rl.rollout.environments import RolloutConfig, make_envs, new_episodes
from aim_rl.rollout.groups import PartialRollouts, complete_groups, finished_rollouts
from aim_rl.rollout.policy import Policy
from aim_rl.rollout.pool import ANSWER_TIMEOUT, Slot, WorkerPool
from aim_rl.rollout.seeds import torch_seed
from aim_rl.rollout.transfer import pack, unpack, with_todays_names
from aim_rl.rollout.worker import LOCAL, Channel, Transport, send_answer
from envs.wrappers import EpisodePrefix

DECISIONS = 4  # of every environment per round; the weights may change between rounds
MIN_TIMEOUT = 60.0  # seconds; a worker counts as hung when a round after its first takes longer than this and than ...
TIMES_SLOWEST = 10  # ... this many times its slowest round

Snapshot = dict[str, Any]
"""What a worker needs to continue where another one was: numbers, lists and numpy arrays."""


class TrainingRollouts:
    """Same-seed groups from `config.workers` processes; iterates over lists of rollouts [T], group by group.

    A process that renders, simulates and decides keeps its core busy; with the policy in the main process the cores
    waited for each other at every decision. Every process takes the same number of decisions per round and waits
    between rounds, so without losses the result depends on the seeds alone. The processes share the policy's weights,
    also those on a GPU (CUDA IPC); rollouts arrive on the CPU.

    A process that dies, hangs or simulates NaN is replaced. Its unfinished groups are dropped, and the new process
    begins with their seeds. One of these seeds may be the cause: if a second process is lost before the first of them
    is finished, that seed is given up.

    Args:
        config: what the processes run.
        policy: decides; its weights are moved to shared memory.
        seed: of the exploration noise.
        extra_keys: keys of the rollouts beside `groups.KEPT`.
        transport: where the workers run.

    Attributes:
        restarts: how many processes were replaced, including those before `load_state_dict`.

    Raises:
        UserError: while iterating: three processes in a row were lost without a finished group, or one of them says
            what to fix.
    """

    def __init__(
        self,
        config: RolloutConfig,
        policy: Policy,
        seed: int,
        extra_keys: tuple[str, ...] = (),
        transport: Transport = LOCAL,
    ) -> None:
        policy.share_memory()
        jobs = [
            _SeedsOfWorker(config, policy, worker, seed * config.workers + worker, extra_keys)
            for worker in range(config.workers)
        ]
        self._pool = WorkerPool(_roll_out, jobs, transport)

    @property
    def restarts(self) -> int:
        return self._pool.losses

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue between two rounds: seeds, noise, partial groups, and every environment's actions.

        Physics cannot be saved bit for bit: a new process resets its environments to their seeds and repeats their
        actions.
        """
        return {"slots": [_slot_state(slot) for slot in self._pool.slots]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """To be called before the first round. Raises ValueError if the number of workers or environments differs."""
        for slot, saved in zip(self._pool.slots, with_todays_names(state)["slots"], strict=True):
            slot.losses, slot.losses_in_a_row = saved["losses"], saved["losses_in_a_row"]
            slot.job.load_state_dict(saved)

    def __iter__(self) -> Iterator[list[TensorDictBase]]:
        while True:
            for slot in self._pool.slots:
                slot.ask("roll out")
            yield [rollout for slot in self._pool.slots for rollout in _rollouts(slot)]

    def shutdown(self) -> None:
        """Ends the processes."""
        self._pool.close()


@dataclass(frozen=True, kw_only=True)
class WorkerStart:
    """What a rollout process starts from."""

    config: RolloutConfig
    policy: Policy
    worker: int
    extra_keys: tuple[str, ...]
    noise_seed: int
    losses: int
    """Processes lost in this slot before; the noise of each is another one."""
    first_seed: int
    finished: set[int]
    """Later seeds that need not be rolled out."""
    snapshot: Snapshot | None


class _SeedsOfWorker:
    """The job of one slot: which seeds are next, and how long a round may take."""

    name = "simulator process"

    def __init__(
        self, config: RolloutConfig, policy: Policy, worker: int, noise_seed: int, extra_keys: tuple[str, ...]
    ) -> None:
        self._config, self._policy, self._worker = config, policy, worker
        self._noise_seed, self._extra_keys = noise_seed, extra_keys
        self._next_seed = config.first_seed + worker  # the first seed that is not finished
        self._finished: set[int] = set()  # later ones that are
        self._lost_at: int | None = None  # `next_seed` at the last loss
        self._snapshot: Snapshot | None = None  # for the first process
        self._slowest = 0.0  # seconds
        self._first_round = True

    def start(self, losses: int) -> tuple[WorkerStart]:
        start = WorkerStart(
            config=self._config,
            policy=self._policy,
            worker=self._worker,
            extra_keys=self._extra_keys,
            noise_seed=self._noise_seed,
            losses=losses,
            first_seed=self._next_seed,
            finished=self._finished,
            snapshot=self._snapshot,
        )
        self._snapshot, self._first_round = None, True
        return (start,)

    def after_loss(self) -> str:
        broken, given_up = self._next_seed, ""
        if self._lost_at == broken:
            given_up = f", without seed {broken}, which broke two in a row"
            self.finish({broken})
        self._lost_at = self._next_seed
        return f"continues at seed {self._next_seed}{given_up}"

    def failure(self) -> str:
        return (
            f"in a row without a finished group (seed {self._next_seed}); if memory is short, begin a new run with "
            "fewer --rollout.envs-per-worker or --workers"
        )

    def finish(self, seeds: set[int]) -> None:
        """Notes finished seeds."""
        self._finished |= seeds
        while self._next_seed in self._finished:
            self._finished.remove(self._next_seed)
            self._next_seed += self._config.workers

    def timeout(self) -> float:
        """Seconds that the next answer may take."""
        # RoboTwin's processes have timeouts of their own and are replaced inside; its expert may try many seeds.
        if self._first_round or self._config.simulator.backend == "robotwin":
            return ANSWER_TIMEOUT
        return max(MIN_TIMEOUT, TIMES_SLOWEST * self._slowest)

    def took(self, seconds: float) -> None:
        """Notes the duration of a round."""
        self._slowest = max(self._slowest, seconds / 3 if self._first_round else seconds)  # the first mostly loads
        self._first_round = False

    def state_dict(self) -> dict[str, Any]:
        return {"next_seed": self._next_seed, "finished": sorted(self._finished), "lost_at": self._lost_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        environments = len(state["snapshot"]["prefixes"])
        if environments != self._config.envs_per_worker:
            raise ValueError(f"it has {environments} environments per process, not {self._config.envs_per_worker}")
        self._next_seed, self._finished = state["next_seed"], set(state["finished"])
        self._lost_at, self._snapshot = state["lost_at"], state["snapshot"]


def _rollouts(slot: Slot[_SeedsOfWorker]) -> list[TensorDictBase]:
    """A worker's rollouts of this round; none if it was lost."""
    answer = _answer(slot)
    rollouts = [] if answer is None else unpack(answer)
    if rollouts:
        slot.made_progress()
    slot.job.finish({int(rollout["seed"][0]) for rollout in rollouts})
    return rollouts


def _slot_state(slot: Slot[_SeedsOfWorker]) -> dict[str, Any]:
    snapshot = None
    while snapshot is None:
        slot.ask("snapshot")
        snapshot = _answer(slot)
    counts = {"losses": slot.losses, "losses_in_a_row": slot.losses_in_a_row}
    return {**slot.job.state_dict(), **counts, "snapshot": snapshot}


def _answer(slot: Slot[_SeedsOfWorker]) -> Any:
    """The value that a worker answers; None if it was lost."""
    answer = slot.answer(slot.job.timeout())
    if answer is None:
        return None
    seconds, value = answer
    slot.job.took(seconds)
    return value


# -- in the worker process ---------------------------------------------------------------------------------------------


def _roll_out(channel: Channel, start: WorkerStart) -> None:
    """Answers "roll out" with `DECISIONS` of each environment, packed as the rollouts of the groups they complete, and
    "snapshot" with a snapshot; with each answer come the seconds that it took.
    """
    config, policy, snapshot = start.config, start.policy, start.snapshot
    torch.set_num_threads(1)
    torch.manual_seed(torch_seed(start.noise_seed, apart=start.losses))
    partial = PartialRollouts() if snapshot is None else _partial_rollouts(snapshot)
    prefixes = [] if snapshot is None else [EpisodePrefix(seed, tuple(acts)) for seed, acts in snapshot["prefixes"]]
    seeds = (seed for seed in itertools.count(start.first_seed, config.workers) if seed not in start.finished)
    env = make_envs(config, start.worker, _schedule(config, prefixes, partial, seeds))
    collector = Collector(
        env,
        cast(Any, policy),
        frames_per_batch=DECISIONS * config.envs_per_worker,
        total_frames=-1,
        auto_register_policy_transforms=False,
    )
    if snapshot is not None:  # only now: the collector's constructor has called the policy once
        torch.set_rng_state(torch.from_numpy(snapshot["noise"]))
        past = [torch.from_numpy(array).to(policy.model.device) for array in snapshot["history"]]
        policy.history = History(*past) if past else None
    groups = complete_groups(finished_rollouts(collector, partial, start.extra_keys), partial, config.group_size)
    try:
        while True:
            request, asked = channel.recv(), time.monotonic()
            if request == "snapshot":
                answer = _take_snapshot(env.get_wrapper_attr("prefix"), partial, policy)
            else:
                answer = pack(next(groups))
            # Timed here: the main process reads one answer after another and may have waited for others, hung or not.
            send_answer(channel, (time.monotonic() - asked, answer))
    finally:
        env.close()


def _take_snapshot(prefixes: list[EpisodePrefix], partial: PartialRollouts, policy: Policy) -> Snapshot:
    in_progress = [cast(TensorDictBase, torch.cat([*pieces])) for pieces in partial.in_progress.values()]
    return {
        "prefixes": [(seed, np.array(actions, np.float32)) for seed, actions in prefixes],
        "environments": list(partial.in_progress),
        "in_progress": pack(in_progress),
        "waiting": pack([rollout for rollouts in partial.waiting.values() for rollout in rollouts]),
        "noise": torch.get_rng_state().numpy(),
        "history": [tensor.cpu().numpy() for tensor in policy.history or ()],
    }


def _partial_rollouts(snapshot: Snapshot) -> PartialRollouts:
    partial = PartialRollouts()
    for environment, rollout in zip(snapshot["environments"], unpack(snapshot["in_progress"]), strict=True):
        partial.in_progress[environment].append(rollout)
    for rollout in unpack(snapshot["waiting"]):
        partial.waiting[int(rollout["seed"][0])].append(rollout)
    return partial


def _schedule(
    config: RolloutConfig, prefixes: list[EpisodePrefix], partial: PartialRollouts, seeds: Iterable[int]
) -> Iterator[EpisodePrefix]:
    """The episodes in progress, one per environment; the rest of the last group that was started; then new groups."""
    last = max((seed for seed, _ in prefixes), default=-1)
    started = sum(seed == last for seed, _ in prefixes) + len(partial.waiting.get(last, ()))
    rest = [EpisodePrefix(last)] * (config.group_size - started) if prefixes else []
    return itertools.chain(prefixes, rest, new_episodes(config, (seed for seed in seeds if seed > last)))

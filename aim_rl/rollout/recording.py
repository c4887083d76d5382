"""Episodes recorded by several processes: the expert's demonstrations, and rollouts that are run again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterable
from typing import Any

from aim_rl.data.demonstrate import demonstrate
from aim_rl.data.episode import Episode
from aim_rl.rollout.pool import Slot, WorkerPool
from aim_rl.rollout.worker import LOCAL, Channel, Transport, send_answer
from envs.base import TaskEnv
from envs.wrappers import EpisodePrefix

LOOK_AHEAD = 2  # episodes per worker that may be recorded before the next one in order is
Record = Callable[[TaskEnv, EpisodePrefix, str], Episode | None]
"""What records one episode, given its setting; None: it is left out."""


def record_demonstrations(
    make_env: Callable[[], Any], setting: str, first_seed: int, workers: int, transport: Transport = LOCAL
) -> Generator[tuple[int, Episode | None]]:
    """The seeds from `first_seed` on, in order, each with its episode, or None where the expert fails.

    Closing the iterator ends the processes. Arguments and errors are those of `record_episodes`.
    """
    prefixes = (EpisodePrefix(seed) for seed in itertools.count(first_seed))
    return record_episodes(_demonstrate, prefixes, make_env, setting, workers, transport)


def record_episodes(
    record: Record,
    prefixes: Iterable[EpisodePrefix],
    make_env: Callable[[], Any],
    setting: str,
    workers: int,
    transport: Transport = LOCAL,
) -> Generator[tuple[int, Episode | None]]:
    """Seed and episode of each of `prefixes`, in their order.

    A process that dies, hangs or simulates NaN is replaced, and its episode is recorded again. Closing the iterator
    ends the processes.

    Args:
        record: a function of a module.
        prefixes: what to record.
        make_env: makes a process's environment; can be sent there.
        setting: "clean" or "randomized", for the episodes.
        workers: processes.
        transport: where they run.

    Raises:
        UserError: three processes were lost at one seed, or one of them says what to fix.
    """
    pool = WorkerPool(_record, [_Recording(record, make_env, setting) for _ in range(workers)], transport)
    idle, busy = list(pool.slots), list[Slot[_Recording]]()
    recorded: dict[int, tuple[int, Episode | None]] = {}
    numbered, due = enumerate(prefixes), 0
    ahead = next(numbered, None)  # the next one to be started
    try:
        while busy or ahead is not None:
            while idle and ahead is not None and ahead[0] < due + LOOK_AHEAD * workers:
                slot = idle.pop()
                slot.job.number, slot.job.prefix = ahead
                slot.ask(slot.job.prefix)
                busy.append(slot)
                ahead = next(numbered, None)
            slot, answer = pool.first_answer(busy)
            if answer is None:
                slot.ask(slot.job.prefix)
                continue
            busy.remove(slot)
            idle.append(slot)
            slot.made_progress()
            recorded[slot.job.number] = slot.job.prefix.seed, answer[0]
            while due in recorded:
                yield recorded.pop(due)
                due += 1
    finally:
        pool.close()


class _Recording:
    """The job of one slot: one episode after another."""

    name = "recording process"
    number: int
    prefix: EpisodePrefix

    def __init__(self, record: Record, make_env: Callable[[], Any], setting: str) -> None:
        self._args = record, make_env, setting

    def start(self, losses: int) -> tuple[Any, ...]:
        return self._args

    def after_loss(self) -> str:
        return f"records seed {self.prefix.seed} again"

    def failure(self) -> str:
        return f"at seed {self.prefix.seed}; if memory is short, take fewer --workers, or another --seed"


def _record(channel: Channel, record: Record, make_env: Callable[[], Any], setting: str) -> None:
    """The worker process: a request is an `EpisodePrefix`, the answer (episode or None,)."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread per process: the processes are the parallelism
    env = make_env()
    try:
        while True:
            send_answer(channel, (record(env, channel.recv(), setting),))
    finally:
        env.close()


def _demonstrate(env: TaskEnv, prefix: EpisodePrefix, setting: str) -> Episode | None:
    return demonstrate(env, prefix.seed, setting)

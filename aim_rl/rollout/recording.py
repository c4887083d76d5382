"""Demonstrations of the expert, recorded by several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any

from aim_rl.data.demonstrate import demonstrate
from aim_rl.data.episode import Episode
from aim_rl.rollout.pool import Slot, WorkerPool
from aim_rl.rollout.worker import LOCAL, Channel, Transport, send_answer

LOOK_AHEAD = 2  # seeds per worker that may be recorded before the next one in order is


def record_demonstrations(
    make_env: Callable[[], Any], setting: str, first_seed: int, workers: int, transport: Transport = LOCAL
) -> Generator[tuple[int, Episode | None]]:
    """The seeds from `first_seed` on, in order, each with its episode, or None where the expert fails.

    A process that dies, hangs or simulates NaN is replaced, and its seed is recorded again. Closing the iterator ends
    the processes.

    Args:
        make_env: makes a process's environment; can be sent there.
        setting: "clean" or "randomized", for the episodes.
        first_seed: seeds are consecutive.
        workers: processes.
        transport: where they run.

    Raises:
        UserError: three processes were lost at one seed, or one of them says what to fix.
    """
    pool = WorkerPool(_record, [_Recording(make_env, setting) for _ in range(workers)], transport)
    idle, busy = list(pool.slots), list[Slot[_Recording]]()
    recorded: dict[int, Episode | None] = {}
    next_seed = due = first_seed  # to be started, to be yielded
    try:
        while True:
            while idle and next_seed < due + LOOK_AHEAD * workers:
                slot = idle.pop()
                slot.job.seed, next_seed = next_seed, next_seed + 1
                slot.ask(slot.job.seed)
                busy.append(slot)
            slot, answer = pool.first_answer(busy)
            if answer is None:
                slot.ask(slot.job.seed)
                continue
            busy.remove(slot)
            idle.append(slot)
            slot.made_progress()
            (recorded[slot.job.seed],) = answer
            while due in recorded:
                yield due, recorded.pop(due)
                due += 1
    finally:
        pool.close()


class _Recording:
    """The job of one slot: one seed after another."""

    name = "recording process"

    def __init__(self, make_env: Callable[[], Any], setting: str) -> None:
        self._args = make_env, setting
        self.seed = -1

    def start(self, losses: int) -> tuple[Any, ...]:
        return self._args

    def after_loss(self) -> str:
        return f"records seed {self.seed} again"

    def failure(self) -> str:
        return f"at seed {self.seed}; if memory is short, take fewer --workers, or another --seed"


def _record(channel: Channel, make_env: Callable[[], Any], setting: str) -> None:
    """The worker process: a request is a seed, the answer (episode or None,)."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread per process: the processes are the parallelism
    env = make_env()
    try:
        while True:
            send_answer(channel, (demonstrate(env, channel.recv(), setting),))
    finally:
        env.close()

"""Worker processes that die, hang or fail, and what is left of them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from aim_rl.rollout.pool import WorkerPool
from aim_rl.rollout.worker import LOCAL, WorkerLost
from envs.errors import UserError

from .. import faulty_worker
from .fake_transport import FakeTransport

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("die", "was killed by SIGKILL"),
        ("leave", "ended with exit code 3"),
        ("stop", "did not answer within 0 s"),
        ("tear", "did not answer within 0 s"),
        ("raise", "failed: FloatingPointError: the simulator observed qpos as NaN"),
    ],
)
def test_a_worker_is_lost(fault: str, how: str) -> None:
    worker = LOCAL.start(faulty_worker.answer)
    worker.ask("hello")
    assert worker.answer(600.0) == "hello"
    worker.ask(fault)
    with pytest.raises(WorkerLost, match=how):
        worker.answer(0.4 if how.startswith("did not") else 600.0)
    worker.close()


def test_what_the_user_can_fix_in_a_worker_is_for_the_user() -> None:
    worker = LOCAL.start(faulty_worker.answer)
    worker.ask("refuse")
    with pytest.raises(UserError, match="install RoboTwin's assets"):
        worker.answer(600.0)


def test_the_first_worker_that_answers_or_is_lost_is_ready() -> None:
    workers = [LOCAL.start(faulty_worker.answer) for _ in range(2)]
    for worker in workers:
        worker.ask("hello")
        assert worker.answer(600.0) == "hello"
    assert LOCAL.first_ready(workers, 0.0) is None
    workers[1].ask("die")
    assert LOCAL.first_ready(workers, 600.0) is workers[1]
    workers[0].ask("hello")
    assert LOCAL.first_ready(workers[:1], 600.0) is workers[0]
    for worker in workers:
        worker.close()


class _WaitsForTheOther:
    """A worker whose end takes until the other one is ended, too."""

    def __init__(self, both: threading.Barrier) -> None:
        self._both = both

    def ask(self, request: object) -> None:
        pass

    def close(self) -> None:
        self._both.wait(600.0)


def test_a_pool_ends_its_workers_at_the_same_time() -> None:
    """Each may be given seconds to clean up, and Ctrl-C waits for all."""

    class Job:
        name = "worker"

        def start(self, losses: int) -> tuple[threading.Barrier]:
            return (both,)

        def after_loss(self) -> str:
            return ""

        failure = after_loss

    both = threading.Barrier(2)
    pool = WorkerPool(faulty_worker.answer, [Job(), Job()], FakeTransport(_WaitsForTheOther))
    for slot in pool.slots:
        slot.ask("hello")
    pool.close()
    assert not both.broken


@pytest.mark.parametrize("faults", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_lost_workers_leave_nothing_behind(faults: int) -> None:
    """Neither processes, nor descriptors, nor threads."""
    here = psutil.Process()
    LOCAL.start(faulty_worker.answer).close()  # multiprocessing's resource tracker starts with the first

    def held() -> tuple[int, int, int]:
        return len(here.children(recursive=True)), here.num_fds(), threading.active_count()

    before = held()
    for number in range(faults):
        worker = LOCAL.start(faulty_worker.answer)
        worker.ask(np.zeros(1000))
        assert len(worker.answer(600.0)) == 1000
        worker.ask(("die", "stop", "raise")[number % 3])
        with pytest.raises(WorkerLost):
            worker.answer(0.3)
    assert held() == before


MAIN = """
import os, time
from aim_rl.rollout.pool import WorkerPool
from aim_rl.rollout.worker import LOCAL
from tests.aim_rl import faulty_worker
worker = LOCAL.start(faulty_worker.answer)
worker.ask(0)
worker.answer(600.0)
worker.ask("tear")
print(worker.process.pid, flush=True)
time.sleep(1000)
"""


def test_a_busy_worker_ends_with_the_main_process() -> None:
    main = subprocess.Popen([sys.executable, "-c", MAIN], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert main.stdout is not None
    worker = psutil.Process(int(main.stdout.readline()))
    main.kill()
    main.wait()
    psutil.wait_procs([worker], 300)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE

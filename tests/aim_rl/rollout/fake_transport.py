"""Transports without processes, for tests that decide what a worker does."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import threading
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from aim_rl.rollout.worker import LOCAL

from ..pretend_gpu import PretendedGpu


class FakeTransport:
    """Workers are `worker(*args)`, whatever their target.

    Args:
        worker: has `ask`, `answer` and `close`.
        ready: index of the worker that answers first.
    """

    def __init__(self, worker: Callable[..., Any], ready: int = 0) -> None:
        self._worker, self._ready = worker, ready

    def start(self, target: Callable[..., None], *args: Any) -> Any:
        return self._worker(*args)

    def first_ready(self, workers: Sequence[Any], timeout: float) -> Any:
        return workers[self._ready]


class Threads:
    """Workers are threads of this process, where a GPU can be pretended."""

    def start(self, target: Callable[..., None], *args: Any) -> Any:
        return _Thread(target, *args)

    def first_ready(self, workers: Sequence[Any], timeout: float) -> Any:
        return workers[0]


class _Thread:
    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self._connection, theirs = mp.Pipe()

        def work() -> None:
            with PretendedGpu(), theirs, contextlib.suppress(EOFError):
                target(theirs, *args)

        threading.Thread(target=work, daemon=True).start()

    def ask(self, request: Any) -> None:
        self._connection.send(request)

    def answer(self, timeout: float) -> Any:
        return self._connection.recv()[1]

    def close(self) -> None:
        self._connection.close()


class StoppedMeansHung:
    """Real processes; one that is stopped counts as hung at once, one that is slow never."""

    def start(self, target: Callable[..., None], *args: Any) -> Any:
        worker: Any = LOCAL.start(target, *args)
        answer, process = worker.answer, psutil.Process(worker.process.pid)

        def answer_unless_stopped(timeout: float) -> Any:
            while LOCAL.first_ready([worker], 0.1) is None:
                if process.status() == psutil.STATUS_STOPPED:
                    return answer(0.1)
            return answer(timeout)

        worker.answer = answer_unless_stopped
        return worker

    def first_ready(self, workers: Sequence[Any], timeout: float) -> Any:
        return LOCAL.first_ready(workers, timeout)

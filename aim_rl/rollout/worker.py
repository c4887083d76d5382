"""Worker processes that may die or hang: asked over a pipe, noticed when they are lost, ended without a trace."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from envs.errors import UserError

ANSWER_TIMEOUT = 1800.0  # seconds that an answer may take: RoboTwin loads, and its expert tries seeds
ATTEMPTS = 3  # processes that may be lost with nothing finished between
GOODBYE = 2.0  # seconds that a process may take to tidy up once its channel is closed


class WorkerLost(Exception):
    """A worker died, hung or raised an exception; it has been ended. The message says which."""


class Worker:
    """A process of its own that runs `target(channel, *args)`.

    The target receives requests from `channel` and sends each answer by `send_answer`. EOFError from `channel` tells
    it to tidy up and end: the main process is done with it, or gone.

    Args:
        target: a function of a module.
        args: for the target; may be sent to other processes.
    """

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        context = mp.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(target, theirs, *args), daemon=True)
        with children_ignore_ctrl_c():
            self._process.start()
        theirs.close()  # so that its end is the channel's end
        self._exit_code: int | None = None

    def ask(self, request: Any) -> None:
        """Sends a request; that the worker is lost shows at `answer`."""
        with contextlib.suppress(OSError):
            self._channel.send(request)

    def answer(self, timeout: float) -> Any:
        """The next answer.

        Args:
            timeout: seconds after which the worker counts as hung.

        Raises:
            WorkerLost: there is none.
            UserError: what the worker says that the user should fix.
        """
        watchdog = threading.Timer(timeout, self._process.kill)  # ends the wait even amid a message
        watchdog.start()
        try:
            outcome, value = self._channel.recv()
        except (EOFError, OSError) as error:
            waiting = watchdog.is_alive()
            self.close()
            raise WorkerLost(self._ending() if waiting else f"did not answer within {timeout:.0f} s") from error
        finally:
            watchdog.cancel()
            watchdog.join()
        if outcome == "answer":
            return value
        self.close()
        raise UserError(value) if outcome == "refused" else WorkerLost(f"failed: {value}")

    def close(self) -> None:
        """Ends the process, hung or not, and waits for it; a second call does nothing."""
        self._channel.close()
        if self._exit_code is None:
            self._process.join(GOODBYE)
            self._process.kill()
            self._process.join()
            self._exit_code = self._process.exitcode
            self._process.close()

    def _ending(self) -> str:
        code = self._exit_code
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"  # by the kernel, when memory runs out
        return f"ended with exit code {code}"


def ready(workers: Iterable[Worker], timeout: float) -> Worker:
    """The first of them to answer or to be lost. After `timeout` seconds without one, one that hangs is ended."""
    by_channel = {worker._channel: worker for worker in workers}
    for channel in wait(list(by_channel), timeout):
        return by_channel[cast(Connection, channel)]
    hung = next(iter(by_channel.values()))
    hung.close()
    return hung


def send_answer(channel: Connection, value: Any) -> None:
    """Answers the main process's request."""
    channel.send(("answer", value))


@contextlib.contextmanager
def children_ignore_ctrl_c() -> Iterator[None]:
    """Processes that are started in it never see Ctrl-C, which a terminal sends to all: the main one ends them."""
    resource_tracker.ensure_running()  # whose start would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(main_process: int) -> None:
    """Ends this process soon after the main one, which may be killed while a request takes minutes here, or hangs."""
    wait([main_process])
    time.sleep(GOODBYE)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(target: Callable[..., None], channel: Connection, *args: Any) -> None:
    main_process = cast(Any, mp.parent_process()).sentinel
    threading.Thread(target=_end_with, args=(main_process,), daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the main process is gone
        try:
            target(channel, *args)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except UserError as error:
            channel.send(("refused", str(error)))
        except Exception as error:
            traceback.print_exc()
            channel.send(("failed", f"{type(error).__name__}: {error}"))

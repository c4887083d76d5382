"""The transport of the worker pool: starts worker processes, sends them requests, and notices when one is lost.

`LocalProcesses` spawns processes on this machine and talks to them over pipes. Another transport (another machine, a
thread in a test) implements `Transport`, `Worker` and `Channel`.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, cast

from envs.errors import UserError, machine_limit

GRACE = 2.0  # seconds that a process may take to clean up once its channel is closed


class WorkerLost(Exception):
    """A worker died, hung or raised an exception, and has been ended. The message says which."""


class Channel(Protocol):
    """The worker's end: requests come in, answers go out."""

    def recv(self) -> Any:
        """The next request. EOFError: the main process is done with the worker, or is gone; clean up and return."""
        ...

    def send(self, message: Any, /) -> None:
        """Use `send_answer`."""
        ...


class Worker(Protocol):
    """The main process's end of one worker."""

    def ask(self, request: Any) -> None:
        """Sends a request. Whether the worker is still there shows at `answer`."""
        ...

    def answer(self, timeout: float) -> Any:
        """The next answer.

        Args:
            timeout: seconds after which the worker counts as hung.

        Raises:
            WorkerLost: the worker died, hung or raised an exception.
            UserError: raised in the worker; the user can fix it.
        """
        ...

    def close(self) -> None:
        """Ends the worker, hung or not, and waits for it; a second call does nothing."""
        ...


class Transport(Protocol):
    """Where workers run and how they are reached."""

    def start(self, target: Callable[..., None], *args: Any) -> Worker:
        """Starts a worker that runs `target(channel, *args)`.

        Args:
            target: a function of a module; it receives requests from its `Channel` and answers by `send_answer`.
            args: can be sent to another process.
        """
        ...

    def first_ready(self, workers: Sequence[Any], timeout: float) -> Any | None:
        """The first of these workers that has answered or is lost; None if there is none within `timeout` seconds."""
        ...


def send_answer(channel: Channel, value: Any) -> None:
    """Answers the main process's request."""
    channel.send(("answer", value))


class LocalProcesses:
    """Transport: spawned processes on this machine, over pipes. Pickles travel between our own processes only."""

    def start(self, target: Callable[..., None], *args: Any) -> LocalWorker:
        return LocalWorker(target, *args)

    def first_ready(self, workers: Sequence[LocalWorker], timeout: float) -> LocalWorker | None:
        by_connection = {worker.connection: worker for worker in workers}
        for connection in wait(list(by_connection), timeout):
            return by_connection[cast(Connection, connection)]
        return None


LOCAL: Transport = LocalProcesses()


class LocalWorker:
    """A process that runs `target(channel, *args)`; it ends with the main process, however that one ends."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        context = mp.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_run, args=(target, theirs, *args), daemon=True)
        with children_ignore_ctrl_c():
            self.process.start()
        theirs.close()  # so that the process's exit closes the pipe
        self._exit_code: int | None = None

    def ask(self, request: Any) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(request)

    def answer(self, timeout: float) -> Any:
        watchdog = threading.Timer(timeout, self.process.kill)  # also ends a wait in the middle of a message
        watchdog.start()
        try:
            outcome, value = self.connection.recv()
        except (EOFError, OSError) as error:
            in_time = watchdog.is_alive()
            self.close()
            raise WorkerLost(self._ending() if in_time else f"did not answer within {timeout:.0f} s") from error
        finally:
            watchdog.cancel()
            watchdog.join()
        if outcome == "answer":
            return value
        self.close()
        raise UserError(value) if outcome == "user_error" else WorkerLost(f"failed: {value}")

    def close(self) -> None:
        self.connection.close()
        if self._exit_code is None:
            self.process.join(GRACE)
            self.process.kill()
            self.process.join()
            self._exit_code = self.process.exitcode
            self.process.close()

    def _ending(self) -> str:
        code = self._exit_code
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"  # by the kernel, when memory runs out
        return f"ended with exit code {code}"


@contextlib.contextmanager
def children_ignore_ctrl_c() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which a terminal sends to all; the main process ends them."""
    resource_tracker.ensure_running()  # started later, it would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(main_process: int) -> None:
    """Ends this process soon after the main one, which may be killed while a request here takes minutes or hangs."""
    wait([main_process])
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(target: Callable[..., None], channel: Connection, *args: Any) -> None:
    """What the worker process runs."""
    main_process = cast(Any, mp.parent_process()).sentinel
    threading.Thread(target=_end_with, args=(main_process,), daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the main process is gone
        try:
            target(channel, *args)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except UserError as error:
            channel.send(("user_error", str(error)))
        except Exception as error:
            limit = machine_limit(error)
            if limit is None:
                traceback.print_exc()
            channel.send(("failed", limit or f"{type(error).__name__}: {error}"))

"""Starts RoboTwin's process (`worker.py`), sends it requests, and ends it with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from envs.errors import UserError
from envs.robotwin import worker
from envs.robotwin.worker import Arrays

FIRST_TIME = 5  # times the timeout, for the first call of each kind in a process: imports, shaders, planners
SLOW = ("expert", "demonstrate")  # whole episodes, FIRST_TIME each time
TAIL = 2000  # bytes of the log in which an error looks for its last line


class WorkerLost(UserError):
    """RoboTwin's process died, hung or sent an invalid message; it has been ended. The message names the log."""


class TaskFailed(UserError):
    """RoboTwin raised an exception; its process goes on.

    Args:
        kind: name of the exception's class, such as UnStableError.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def new_log(task: str) -> Path:
    """An empty file for what RoboTwin prints."""
    handle, name = tempfile.mkstemp(prefix=f"robotwin-{task}-", suffix=".log")
    os.close(handle)
    return Path(name)


class Worker:
    """One running RoboTwin process.

    Args:
        python: RoboTwin's interpreter.
        root: RoboTwin's checkout, the process's working directory.
        log: file that its output is appended to.
        timeout: seconds that one call may take; five times as much where it is the first of its kind or an episode.

    Raises:
        UserError: the interpreter cannot be run.
    """

    def __init__(self, python: Path, root: Path, log: Path, timeout: float) -> None:
        self._channel, theirs = socket.socketpair()
        self._log, self._timeout, self._asked = log, timeout, set[str]()
        command = [str(python), "-u", worker.__file__, str(theirs.fileno()), str(os.getpid())]
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    command,
                    cwd=root,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the parent, which ends the group
                )
        except OSError as error:
            self._channel.close()
            raise UserError(
                f"cannot run {python}: {error.strerror}; give the Python that RoboTwin was installed into"
            ) from error
        finally:
            theirs.close()

    def ask(
        self,
        name: str,
        fields: dict[str, Any],
        arrays: Arrays | None = None,
        frames: list[Arrays] | None = None,
    ) -> tuple[dict[str, Any], Arrays]:
        """One request and its answer; the frames that "demonstrate" sends before it are appended to `frames`.

        Raises:
            UserError: RoboTwin's set-up lacks something.
            TaskFailed: RoboTwin raised an exception.
            WorkerLost: the process died, or did not answer in time.
        """
        timeout = self._timeout * (1 if name in self._asked and name not in SLOW else FIRST_TIME)
        self._channel.settimeout(timeout)
        try:
            worker.send(self._channel, name, fields, arrays)
            answer, fields, arrays = worker.receive(self._channel)
            while answer == "frame" and frames is not None:
                frames.append(arrays)
                answer, fields, arrays = worker.receive(self._channel)
        except TimeoutError as error:
            raise self._lost(f"did not answer within {timeout:.0f} s", name) from error
        except (EOFError, OSError) as error:
            raise self._lost(self._ending(), name) from error
        except (worker.ProtocolError, ValueError) as error:
            raise self._lost(f"sent what is no message ({error})", name) from error
        except KeyboardInterrupt:
            self.close()  # half an answer may be on its way
            raise
        self._asked.add(name)
        if answer == "refused":
            raise UserError(f"{fields.get('text')} (log: {self._log})")
        if answer == "failed":
            kind, text = str(fields.get("kind")), fields.get("text")
            raise TaskFailed(kind, f"RoboTwin failed at {name}: {kind}: {text} (log: {self._log})")
        return fields, arrays

    def _lost(self, how: str, name: str) -> WorkerLost:
        self.close()
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        return WorkerLost(f"RoboTwin's process {how} at {name} (log: {self._log}; last line: {last})")

    def _ending(self) -> str:
        self.close()
        code = self._process.returncode
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"  # by the kernel, when memory runs out
        return f"ended with exit code {code}"

    def close(self) -> None:
        """Ends the process and all that it has started, and waits for it; a second call does nothing."""
        self._channel.close()
        if self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)  # one that is ending by itself shows its own exit code
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

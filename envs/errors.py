"""The exception whose message is meant for the user, and how a command ends with it."""

from __future__ import annotations

import errno
import re
import sys
import threading
from collections.abc import Callable

from envs.output import optional_output

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""Error numbers of a disk that is full or closed to this user."""
FULL = (errno.ENOSPC, errno.EDQUOT)

LIMITS = {
    r"Too many open files": "too many open files; raise the limit with `ulimit -n 4096`",
    r"(shared memory|/torch_|/dev/shm).*No space left": (
        "/dev/shm is full; start the container with --shm-size=2g, or run `mount -o remount,size=2g /dev/shm` as root"
    ),
    r"can't start new thread|Resource temporarily unavailable": (
        "no more processes or threads are allowed; raise the limit with `ulimit -u`, or take fewer --workers"
    ),
    r"DataLoader worker.*(killed by signal|exited unexpectedly)": (
        "a process that prepares batches was killed, which happens when memory runs out; end other programs, take "
        "smaller batches, or --workers 0"
    ),
    r"out of memory|OutOfMemory|can(no|')t allocate memory|MemoryError|bad_alloc": (
        "there is not enough memory; end other programs, or take smaller batches, fewer workers or fewer environments"
    ),
}
"""What Python, torch and CUDA say when a limit of the machine is reached, and what to do."""


class UserError(Exception):
    """Something the user can fix; its message is one clear sentence that says how."""


class OutOfResources(UserError):
    """A limit of the machine was reached."""


def machine_limit(error: BaseException) -> str | None:
    """The sentence for an error that comes from a limit of the machine, or for one that such an error led to (closing
    what was never opened); None for any other error.
    """
    cause: BaseException | None = error
    while cause is not None:
        words = f"{type(cause).__name__}: {cause}"
        for pattern, text in LIMITS.items():
            if re.search(pattern, words, re.IGNORECASE):
                return text
        cause = cause.__cause__ or cause.__context__
    return None


def exit_cleanly(main: Callable[[], None]) -> None:
    """Runs `main`. A `UserError`, a refusal of the disk and a limit of the machine end in one line on stderr and exit
    code 2, Ctrl-C in 130.
    """
    threading.excepthook = _disk_is_for_the_main_thread
    with optional_output():
        try:
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            if error.errno not in DISK:
                _say_limit(error)
                raise
            what = f"cannot use {error.filename or 'the output'}: {error.strerror}"
            print(f"error: {what}; {way_out(error)}", file=sys.stderr)
            sys.exit(2)
        except (RuntimeError, MemoryError, ImportError) as error:
            _say_limit(error)
            raise
        except KeyboardInterrupt as interrupt:
            print(interrupt if interrupt.args else "interrupted", file=sys.stderr)
            sys.exit(130)


def way_out(refused: OSError) -> str:
    """What to do about a disk that refuses."""
    return "free some space or choose another place" if refused.errno in FULL else "choose another place"


def _say_limit(error: Exception) -> None:
    """Ends the command if the error comes from a limit of the machine."""
    limit = machine_limit(error)
    if limit is not None:
        print(f"error: {limit}", file=sys.stderr)
        sys.exit(2)


def _disk_is_for_the_main_thread(failed: threading.ExceptHookArgs) -> None:
    """Silences TensorBoard's thread when it cannot write: the main thread gets the same error at its next number."""
    if not (isinstance(failed.exc_value, OSError) and failed.exc_value.errno in DISK):
        threading.__excepthook__(failed)

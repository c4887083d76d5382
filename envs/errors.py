"""The exception whose message is meant for the user, and how a command ends with it."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable

from envs.output import optional_output

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""Error numbers of a disk that is full or closed to this user."""


class UserError(Exception):
    """Something the user can fix; its message is one clear sentence that says how."""


def exit_cleanly(main: Callable[[], None]) -> None:
    """Runs `main`. A `UserError` or a refusal of the disk ends in one line on stderr and exit code 2, Ctrl-C in 130."""
    threading.excepthook = _disk_is_for_the_main_thread
    with optional_output():
        try:
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            if error.errno == errno.EMFILE:
                print("error: too many open files; raise the limit with `ulimit -n 4096`", file=sys.stderr)
                sys.exit(2)
            if error.errno not in DISK:
                raise
            what = f"cannot use {error.filename or 'the output'}: {error.strerror}"
            print(f"error: {what}; free some space or choose another place", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt as interrupt:
            print(interrupt if interrupt.args else "interrupted", file=sys.stderr)
            sys.exit(130)


def _disk_is_for_the_main_thread(failed: threading.ExceptHookArgs) -> None:
    """Silences TensorBoard's thread when it cannot write: the main thread gets the same error at its next number."""
    if not (isinstance(failed.exc_value, OSError) and failed.exc_value.errno in DISK):
        threading.__excepthook__(failed)

"""Ctrl-C: finish the step, save, and say how to resume."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from envs.errors import OutOfResources, machine_limit


class Interrupt:
    """Whether Ctrl-C was pressed."""

    pressed = False


@contextmanager
def ctrl_c_finishes_the_step() -> Iterator[Interrupt]:
    """The first Ctrl-C sets `pressed`, so that the loop saves and stops after its step; the second stops at once."""
    interrupt = Interrupt()

    def note(_: int, __: FrameType | None) -> None:
        interrupt.pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # `before` may ignore it, in a background job
        print("Finishing this step; Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def says_how_to_resume(run: Path) -> Iterator[None]:
    """Makes Ctrl-C and a limit of the machine end in a sentence that names the run; if nested, the outermost run."""
    try:
        yield
    except OutOfResources as error:
        raise OutOfResources(f"{str(error).partition('; go on with')[0]}; go on with --resume {run}") from error
    except (KeyboardInterrupt, RuntimeError, MemoryError, OSError) as error:
        # In TorchRL's loss, tensordict's `with parameters.to_module(...)` turns it into a RuntimeError.
        interrupt = error if isinstance(error, KeyboardInterrupt) else error.__context__
        if not isinstance(interrupt, KeyboardInterrupt):
            limit = machine_limit(error)
            if limit is None:
                raise
            raise OutOfResources(f"{limit}; go on with --resume {run}") from error
        what = str(interrupt).partition(";")[0] or "interrupted"
        raise KeyboardInterrupt(f"{what}; go on with --resume {run}") from interrupt

"""Ctrl-C: finish the step, save, and say how to resume."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed."""

    pressed = False


@contextmanager
def ctrl_c_finishes_the_step() -> Iterator[Interrupt]:
    """The first Ctrl-C sets `pressed`, for the loop to save and stop after its step; the second stops at once."""
    interrupt = Interrupt()

    def note(_: int, __: FrameType | None) -> None:
        interrupt.pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # `before` ignores it in a script's background job
        print("Finishing this step; Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def says_how_to_resume(run: Path) -> Iterator[None]:
    """Ctrl-C in it ends in a sentence that names the run; of several, the outermost."""
    try:
        yield
    except (KeyboardInterrupt, RuntimeError) as error:
        # tensordict leaves `with parameters.to_module(...)`, in TorchRL's loss, by a RuntimeError of its own.
        interrupt = error if isinstance(error, KeyboardInterrupt) else error.__context__
        if not isinstance(interrupt, KeyboardInterrupt):
            raise
        what = str(interrupt).partition(";")[0] or "interrupted"
        raise KeyboardInterrupt(f"{what}; go on with --resume {run}") from interrupt

"""Ctrl-C: finish the step, save, and say how to resume."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from envs.errors import OutOfResources, machine_limit


class Interrupt:
    """Whether Ctrl-C was pressed, and what it waits for.

    Args:
        part: of the work that comes first ("this step").

    Attributes:
        pressed: whether it was.
        saved: where `--resume` would go on now ("iteration 10"), for the sentence that Ctrl-C answers.
    """

    def __init__(self, part: str) -> None:
        self.pressed, self.saved = False, "the start"
        self._raises = False
        self._part, self._began = part, time.monotonic()
        self._took: dict[str, float] = {}  # seconds that each part took when it was last done

    def begin(self, part: str) -> None:
        """A part of the work begins that Ctrl-C waits for, and the one before it is done."""
        now = time.monotonic()
        self._took[self._part] = now - self._began
        self._part, self._began = part, now

    @contextmanager
    def raises(self) -> Iterator[None]:
        """Inside, the first Ctrl-C raises KeyboardInterrupt: what is done there can be done again."""
        self._raises = True
        try:
            if self.pressed:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False

    def press(self) -> None:
        """Notes the first Ctrl-C and says what follows."""
        self.pressed = True
        left = ""
        if self._part in self._took:
            left = f", about {max(1, round(self._took[self._part] - (time.monotonic() - self._began)))} s"
        print(
            f"Ctrl-C: {'saving' if self._raises else f'finishing {self._part}{left}, then saving'}. "
            f"Ctrl-C again stops at once, and what came after {self.saved} is lost.",
            file=sys.stderr,
            flush=True,
        )
        if self._raises:
            raise KeyboardInterrupt


@contextmanager
def ctrl_c_finishes_the_step(interrupt: Interrupt) -> Iterator[None]:
    """The first Ctrl-C sets `pressed`, so that the loop saves and stops after its step; the second stops at once."""

    def note(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # `before` may ignore it, in a background job
        interrupt.press()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def says_how_to_resume(run: Path) -> Iterator[None]:
    """Makes Ctrl-C and a limit of the machine end in a sentence that names the run; if nested, the outermost run."""
    go_on = f"go on with --resume {shlex.quote(str(run))}"
    try:
        yield
    except OutOfResources as error:
        raise OutOfResources(f"{str(error).partition('; go on with')[0]}; {go_on}") from error
    except (KeyboardInterrupt, RuntimeError, MemoryError, OSError) as error:
        # In TorchRL's loss, tensordict's `with parameters.to_module(...)` turns it into a RuntimeError.
        interrupt = error if isinstance(error, KeyboardInterrupt) else error.__context__
        if not isinstance(interrupt, KeyboardInterrupt):
            limit = machine_limit(error)
            if limit is None:
                raise
            raise OutOfResources(f"{limit}; {go_on}") from error
        what = str(interrupt).partition(";")[0] or "interrupted"
        raise KeyboardInterrupt(f"{what}; {go_on}") from interrupt

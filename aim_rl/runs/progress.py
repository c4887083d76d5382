"""A progress line with an estimate of the time left; in a log file, a plain line every half minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich import get_console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

PLAIN_EVERY = 30.0  # s between the lines of a log file
BAR_FROM = 100  # columns of a terminal; a narrower one has room for the numbers alone, in several lines


class Bar(Protocol):
    """A running progress line."""

    def update(self, done: int, detail: str = "") -> None:
        """Sets how much is done, and a short detail."""
        ...


class _LiveBar:
    """The moving line of a terminal."""

    def __init__(self, display: Progress, title: str, total: int, done: int) -> None:
        self._display = display
        self._task = display.add_task(title, total=total, completed=done, detail="")

    def update(self, done: int, detail: str = "") -> None:
        self._display.update(self._task, completed=done, detail=detail)


class _PlainBar:
    """Plain lines for a log file, where a moving line would show nothing until the end."""

    def __init__(self, title: str, total: int, unit: str, done: int) -> None:
        self._title, self._total, self._unit, self._first, self._done = title, total, unit, done, done
        self._detail = ""
        self._started = self._printed = time.monotonic()

    def update(self, done: int, detail: str = "") -> None:
        self._done, self._detail = done, detail
        if time.monotonic() - self._printed >= PLAIN_EVERY:
            self.print()

    def print(self) -> None:
        self._printed = time.monotonic()
        elapsed = self._printed - self._started
        words = [f"{self._title} {self._done}/{self._total} {self._unit}", _clock(elapsed)]
        gained, remaining = self._done - self._first, self._total - self._done
        if gained > 0 and remaining > 0:
            words.append(f"{_clock(elapsed * remaining / gained)} left")
        print(", ".join([*words, self._detail] if self._detail else words), flush=True)


def _clock(seconds: float) -> str:
    """`1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


class _SilentBar:
    """No line: two moving ones cannot share a terminal."""

    def update(self, done: int, detail: str = "") -> None:
        pass


@contextmanager
def progress(title: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """Shows `title [bar] done/total unit elapsed<left detail` until the block ends; nothing without a title."""
    if not title:
        yield _SilentBar()
        return
    console = get_console()
    columns = (
        TextColumn("{task.description}", table_column=Column(overflow="fold")),
        *([BarColumn(bar_width=24)] if console.width >= BAR_FROM else []),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", table_column=Column(overflow="fold")),
    )
    display = Progress(*columns, console=console)
    if console.is_terminal:
        with display:
            yield _LiveBar(display, title, total, done)
    else:
        bar = _PlainBar(title, total, unit, done)
        try:
            yield bar
        finally:
            bar.print()

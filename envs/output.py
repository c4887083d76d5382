"""Printing that cannot stop the work: `| head`, a closed terminal, a full disk behind a log file, an old encoding."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast


class _Optional:
    """A text stream that discards everything after the first refusal of the system, and escapes what its encoding lacks
    (a letter in the name of a folder, a line of a table)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError:
            self._discard()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._discard()

    def _discard(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())  # what is buffered goes there, too
        os.close(null)


@contextmanager
def optional_output() -> Iterator[None]:
    """While it is active, standard output and standard error may go away without an error."""
    streams: list[TextIO | None] = [sys.stdout, sys.stderr]  # None: closed before the command started
    out, err = (cast(TextIO, _Optional(stream or open(os.devnull, "w"))) for stream in streams)  # noqa: SIM115
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            out.flush()
            err.flush()

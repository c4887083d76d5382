"""Files that are either complete or untouched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envs.errors import UserError


@contextmanager
def complete_or_untouched(path: Path) -> Iterator[Path]:
    """A file to write aside, which then takes the place of `path`; of the same ending."""
    aside = path.with_name(f".new.{path.name}")
    try:
        yield aside
        to_disk(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Waits until the disk has a file, or a folder and all in it: a rename alone may survive a power failure alone."""
    for each in (path, *path.rglob("*")):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON so that the file is either complete or untouched."""
    with complete_or_untouched(path) as aside:
        aside.write_text(json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    """What an earlier part of the work has left.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, and the same command makes it anew") from error

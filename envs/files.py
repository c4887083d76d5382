"""Files and folders that are either complete or untouched, whatever stops the process that writes them."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envs.errors import UserError, way_out


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a path of the same suffix to write; the file there then takes the place of `path`, in one step.

    Folders above `path` are made. If the body raises, `path` stays as it was. Several processes may write the same
    `path`: one of them comes last. What a killed process has left is removed by the next one that writes `path`.

    Raises:
        UserError: the system refuses to write (no space, no permission, a file in the way).
    """
    aside = path.with_name(f".{path.stem}.{os.getpid()}.new{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(glob.escape(f".{path.stem}.") + f"*.new{path.suffix}"):
            if not Path("/proc", leftover.name.removesuffix(f".new{path.suffix}").rpartition(".")[2]).exists():
                leftover.unlink(missing_ok=True)
        yield aside
        sync_to_disk(aside)
        os.replace(aside, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, what: str = "the folder") -> Iterator[Path]:
    """Yields an empty folder to fill, which then takes the place of the folder `path`.

    If the body raises, `path` stays as it was. A process that is killed between the two moves leaves the old folder at
    `folder_before(path)`; the next one that writes `path` moves it back first. One process at a time may write `path`.

    Args:
        path: the folder.
        what: what the error sentence calls it.

    Raises:
        UserError: the system refuses to write (no space, no permission, a file in the way).
    """
    aside, old = path.with_name(f".{path.name}.tmp"), folder_before(path)
    try:
        if old.exists() and not path.exists():
            old.rename(path)
        for leftover in (aside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        sync_to_disk(aside)
        if path.exists():
            path.rename(old)
        aside.rename(path)
    except OSError as error:
        raise _refusal(f"{what} {path}", error) from error
    finally:
        if old.exists() and not path.exists():  # also when Ctrl-C came between the two moves
            old.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def folder_before(path: Path) -> Path:
    """Where `atomic_folder` keeps the old folder while it moves the new one to `path`."""
    return path.with_name(f".{path.name}.old")


def _refusal(what: Path | str, error: OSError) -> UserError:
    return UserError(f"cannot write {what}: {error.strerror or error}; {way_out(error)}")


def sync_to_disk(path: Path) -> None:
    """Waits until the disk holds a file, or a folder and all in it: a rename may survive a power failure alone."""
    for each in (path, *path.rglob("*")):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON so that the file is either complete or untouched.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_file(path) as aside:
        aside.write_text(json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in a file that an earlier part of the work has written.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and run the same command again") from error

"""Arrays on disk, written once and read by every process of a machine; valid as long as what they are made of.

A file holds one array, row after row, and `cache.json` says its type and shape. What is read stays in the system's page
cache, which processes share. Large rows are read, not mapped: a page fault of a map reads ahead up to several MB, of
which a batch of random rows needs little. Arrays of small rows are mapped by numpy, read-only: tensordict's memory maps
extend a file that was cut off by zeros, and writing through a map kills the process when the disk is full (SIGBUS).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from envs.errors import UserError
from envs.files import atomic_folder

WHERE = "AIM_RL_CACHE"
"""Environment variable: the folder of the caches, if they should not be beside the data."""
_BESIDE_DATA = ".frames"
_DESCRIPTION = "cache.json"


def digest(value: Any) -> str:
    """A name for a JSON value: 16 hexadecimal digits, other ones for another value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def places(directory: Path, name: str) -> list[Path]:
    """Where the cache `name` of the data in `directory` may be, the first choice first: beside the data, else in the
    user's cache folder; in $AIM_RL_CACHE alone, if that is set.
    """
    path = os.path.abspath(directory)
    elsewhere = f"{os.path.basename(path)}-{digest(path)}"
    if chosen := os.environ.get(WHERE):
        return [Path(chosen) / elsewhere / name]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return [directory / _BESIDE_DATA / name, home / "aim_rl" / elsewhere / name]


class StoredArray:
    """An array in a file, which stays open: the array outlives a new cache in its place.

    Raises:
        OSError: there is no such file.
        ValueError: it is of another size.
    """

    def __init__(self, path: Path, dtype: str, shape: Sequence[int]) -> None:
        self._file = path.open("rb")
        self._dtype, self._shape = np.dtype(dtype), tuple(shape)
        if os.fstat(self._file.fileno()).st_size != self._dtype.itemsize * math.prod(shape):
            raise ValueError(f"{path} is cut off")

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Reads the rows `indices` [...] -> [..., *row]."""
        found = np.empty((indices.numel(), *self._shape[1:]), self._dtype)
        for row, index in zip(found.reshape(len(found), -1).view(np.uint8), indices.flatten().tolist(), strict=True):
            if os.preadv(self._file.fileno(), [row.data], index * len(row)) != len(row):
                raise OSError(errno.EIO, os.strerror(errno.EIO), self._file.name)
        return torch.from_numpy(found).unflatten(0, indices.shape)

    def mapped(self) -> Tensor:
        """All of it, mapped; must not be written to."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of arrays that must not be written to
            return torch.from_numpy(np.memmap(self._file, self._dtype, "r", shape=self._shape))


class CacheWriter:
    """Appends rows to the arrays of a new cache. OSErrors are the caller's (`written`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._arrays: dict[str, tuple[str, list[int]]] = {}  # type and shape

    def reserve(self, size: int) -> None:
        """Says how many bytes will be written. Raises UserError: the disk has not so many."""
        place, free = self._folder.parent, shutil.disk_usage(self._folder).free
        if free < size:
            raise UserError(
                f"the decoded frames take {size / 1e9:.1f} GB and {place} has {free / 1e9:.1f} GB free; free some "
                f"space, or choose another folder by {WHERE}=DIR"
            )
        print(f"Decoded frames: {size / 1e9:.2f} GB in {place}, written once and shared by all processes.", flush=True)

    def append(self, name: str, rows: np.ndarray) -> None:
        """Appends rows [n, ...] to the array of this name."""
        if name not in self._files:
            self._files[name] = (self._folder / name).open("wb")
            self._arrays[name] = rows.dtype.str, [0, *rows.shape[1:]]
        self._files[name].write(np.ascontiguousarray(rows).data)
        self._arrays[name][1][0] += len(rows)

    def take(self, name: str) -> Tensor:
        """The rows of an array, mapped, which leaves the cache: it was only needed on the way."""
        self._files.pop(name).close()
        array = StoredArray(self._folder / name, *self._arrays.pop(name))
        (self._folder / name).unlink()
        return array.mapped()

    def finish(self, content: str, summary: dict[str, Any]) -> None:
        """Writes what describes the arrays; they are complete."""
        self.close()
        description = {"content": content, "arrays": self._arrays, "summary": summary}
        (self._folder / _DESCRIPTION).write_text(json.dumps(description))

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()


Cache = tuple[dict[str, StoredArray], dict[str, Any]]
"""The arrays by name, and the summary that was stored with them."""


def find(candidates: Sequence[Path], content: str) -> Cache | None:
    """The first complete cache of this content; None: there is none."""
    for place in candidates:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            description = json.loads((place / _DESCRIPTION).read_text())
            if description["content"] == content:
                arrays = description["arrays"].items()
                return {name: StoredArray(place / name, *form) for name, form in arrays}, description["summary"]
    return None


def written(candidates: Sequence[Path], content: str, write: Callable[[CacheWriter], dict[str, Any]]) -> Cache:
    """Writes a cache at the first place where that is possible, and opens it.

    One process writes; others that come meanwhile wait for it. What was there of another content, or damaged, is
    replaced; processes that use it keep their files.

    Args:
        candidates: where the cache may be.
        content: what it is made of and how.
        write: appends the arrays and returns the summary, a JSON value.

    Raises:
        UserError: no place can be written to, or the disk is full; and what `write` raises.
    """
    place = next((each for each in candidates if _is_writable(each)), None)
    if place is None:
        names = " nor ".join(str(each.parent) for each in candidates)
        raise UserError(f"decoded frames can be written to neither {names}; choose a folder by {WHERE}=DIR")
    with _only_writer(place):
        cache = find([place], content)  # another process may have written it meanwhile
        if cache is None:
            if place.exists():
                print(f"{place} is damaged, or of other data or another version; it is written again.", flush=True)
                shutil.rmtree(place)  # before the new one, which needs the space
            with atomic_folder(place, "the decoded frames") as folder, contextlib.closing(CacheWriter(folder)) as new:
                new.finish(content, write(new))
            cache = find([place], content)
    assert cache is not None
    return cache


def _is_writable(place: Path) -> bool:
    return os.access(next(each for each in place.parents if each.exists()), os.W_OK | os.X_OK)


@contextmanager
def _only_writer(place: Path) -> Iterator[None]:
    """Waits until no other process writes to `place`; the system frees the lock of a process that ends."""
    with contextlib.ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(place.with_name(f".{place.name}.lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"Another process decodes these frames into {place}; waiting for it.", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(f"cannot write {place}: {error.strerror}; choose a folder by {WHERE}=DIR") from error
        yield

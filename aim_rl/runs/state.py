"""The training state of a run in `<run>/trainer/`, and updates that are not finite."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torchrl.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointRotation,
    GlobalRNGState,
    StateDictCheckpointAdapter,
)

from envs.errors import UserError

Config = TypeVar("Config")
KEPT = 2  # states; the oldest is deleted after a new one is written
MAX_SKIPPED = 3  # updates in a row without a finite gradient; then the run ends
UNREADABLE = (
    CheckpointError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)  # what reading a state may raise


class Counters(dict[str, float]):
    """Named numbers that are part of a run's state."""

    def state_dict(self) -> dict[str, float]:
        return dict(self)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.update(state)


class _LooksForSpace(StateDictCheckpointAdapter):
    """Checks for free space first: TorchRL memory-maps the files it writes, and a full disk would kill it (SIGBUS)."""

    def save(self, component: Any, path: Path, *, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        state = component.state_dict(*args, **kwargs)
        arrays = [leaf for leaf in tree_leaves(state) if isinstance(leaf, (Tensor, np.ndarray))]
        needed = 2**20 + sum(array.nbytes + 8192 for array in arrays)  # and a block and a description per file
        path.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        gathered = SimpleNamespace(state_dict=lambda *_, **__: state)  # all processes gather it once
        return super().save(gathered, path, args=args, kwargs=kwargs)


def _check_files(state: Path) -> None:
    """Raises OSError or ValueError if a file is shorter than the state says: loading would extend it with zeros."""
    for file in [state / "manifest.json", *state.rglob("*.json")]:
        parts = json.loads(file.read_text())
        if file.name == "meta.json":
            for name, part in parts.items():
                if isinstance(part, dict) and {"shape", "dtype"} <= part.keys():
                    dtype = getattr(torch, part["dtype"].removeprefix("torch."))
                    size = math.prod(part["shape"]) * dtype.itemsize  # a tensor without elements has no file
                    if size and (file.parent / f"{name}.memmap").stat().st_size < size:
                        raise ValueError(f"{name}.memmap is cut off")


class FiniteUpdates:
    """Allows updates whose loss and gradient are finite, and counts the others.

    Args:
        counters: `skipped_updates` (shared by several instances) and `<whose>skipped_in_a_row` are added.
        whose: prefix that distinguishes instances.
    """

    def __init__(self, counters: Counters, whose: str = "") -> None:
        self._counters, self._in_a_row = counters, f"{whose}skipped_in_a_row"
        self._longest = 0.0  # row since the last `check`
        counters.update({"skipped_updates": 0, self._in_a_row: 0})

    def allow(self, *numbers: Tensor) -> bool:
        """Whether all numbers are finite; counts it if not."""
        finite = all(bool(torch.isfinite(number).all()) for number in numbers)
        self._counters["skipped_updates"] += not finite
        self._counters[self._in_a_row] = 0 if finite else self._counters[self._in_a_row] + 1
        self._longest = max(self._longest, self._counters[self._in_a_row])
        return finite

    def check(self, run: Path, flag: str) -> None:
        """Raises UserError, which names the last good state, if `MAX_SKIPPED` updates in a row were skipped."""
        longest, self._longest = self._longest, 0.0
        if longest < MAX_SKIPPED:
            return
        latest = rotation(run).latest()
        way_out = "start again" if latest is None else f"go on from {latest}, the last good state, by --resume {run}"
        raise UserError(
            f"the loss or its gradient was not finite {MAX_SKIPPED} times in a row; {way_out} with a lower {flag}"
        )


def rotation(run: Path) -> CheckpointRotation:
    """TorchRL's rotation of a run's states."""
    return CheckpointRotation(run / "trainer", keep_last=KEPT, prefix="step")


def last_step(run: Path) -> int:
    """Steps or iterations up to the newest state of a run; 0 without a state."""
    return max((int(path.name.removeprefix("step-")) for path in (run / "trainer").glob("step-*")), default=0)


class RunState:
    """The state of a run, for resuming it: TorchRL's rotated checkpoints, tensors and JSON without pickle.

    Args:
        run: folder of the run.
        parts: objects with `state_dict` and `load_state_dict`. The random generators of torch, numpy and Python are
            part of the state, too.
    """

    def __init__(self, run: Path, **parts: Any) -> None:
        self.run = run
        self._rotation = rotation(run)
        self._checkpoint = Checkpoint(**parts, rng=GlobalRNGState())
        self._checkpoint.register_adapter(object, _LooksForSpace())

    def save(self, step: int) -> None:
        """Writes a state. Raises UserError if the disk refuses; earlier states stay."""
        try:
            self._rotation.save(self._checkpoint, step=step)
        except OSError as error:
            raise UserError(
                f"cannot save {self.run}/trainer: {error.strerror}; free some space and go on with --resume {self.run}"
            ) from error

    def exists(self) -> bool:
        """Whether there is a state; a run stopped before its first one starts from the beginning."""
        return any((self.run / "trainer").glob("step-*"))

    def restore(self) -> None:
        """Loads the newest readable state; renames newer ones that are damaged and warns about them.

        Raises UserError if there is none or it does not fit this run's configuration.
        """
        folder = self.run / "trainer"
        for leftover in folder.glob(".*"):  # of a process killed while it saved
            shutil.rmtree(leftover, ignore_errors=True)
        pickles = [path for path in folder.rglob("*") if path.suffix in (".pt", ".pkl", ".pickle")]
        if pickles:
            raise UserError(f"{pickles[0]} is a pickle, which may run any code; such a state is not loaded")
        try:
            self._checkpoint.load(self._newest_whole(), map_location="cpu")  # the parts move it
        except UNREADABLE as error:
            raise UserError(f"the state in {folder} is damaged or of another configuration ({error})") from error

    def _newest_whole(self) -> Path:
        """The newest state whose files are complete, checked before loading: a part cannot be unloaded."""
        damaged: dict[Path, Exception] = {}
        for path in sorted((self.run / "trainer").glob("step-*"), reverse=True):
            try:
                _check_files(path)
            except PermissionError as error:  # nothing is damaged
                raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
            except UNREADABLE as error:
                damaged[path] = error
                continue
            for each, reason in damaged.items():
                warnings.warn(f"{each} is damaged ({reason}); going on from {path}, the state before", stacklevel=3)
                aside = each.with_name(f"damaged-{each.name}")
                shutil.rmtree(aside, ignore_errors=True)
                each.rename(aside)
            return path
        raise next(iter(damaged.values()))

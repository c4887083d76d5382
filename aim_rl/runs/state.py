"""Stopping and going on: a run's training state in `<run>/trainer/`, and Ctrl-C between two steps."""

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
KEPT = 2  # states; a new one is written beside the last before the oldest goes
IN_A_ROW = 3  # updates without a finite gradient that end a run
UNREADABLE = (
    CheckpointError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)  # what reading a state may raise


class Counters(dict[str, float]):
    """Numbers of a run that are part of its state."""

    def state_dict(self) -> dict[str, float]:
        return dict(self)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.update(state)


class _LooksForSpace(StateDictCheckpointAdapter):
    """TorchRL's, which maps the files that it writes: a disk that is full would kill the process (SIGBUS)."""

    def save(self, component: Any, path: Path, *, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        state = component.state_dict(*args, **kwargs)
        arrays = [leaf for leaf in tree_leaves(state) if isinstance(leaf, (Tensor, np.ndarray))]
        needed = 2**20 + sum(array.nbytes + 8192 for array in arrays)  # and a file's block and description each
        path.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        held = SimpleNamespace(state_dict=lambda *_, **__: state)  # gathered once, by all processes
        return super().save(held, path, args=args, kwargs=kwargs)


def _check_files(state: Path) -> None:
    """Raises OSError or ValueError if a file of a state is shorter than the state says: reading would fill it up."""
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
    """Says which updates may be made: those whose loss and gradient are finite. Counts the others.

    Args:
        counters: gain `skipped_updates`, which several may share, and `<whose>skipped_in_a_row`.
        whose: updates.
    """

    def __init__(self, counters: Counters, whose: str = "") -> None:
        self._counters, self._in_a_row = counters, f"{whose}skipped_in_a_row"
        self._longest = 0.0  # row since the last `check`
        counters.update({"skipped_updates": 0, self._in_a_row: 0})

    def allow(self, *numbers: Tensor) -> bool:
        finite = all(bool(torch.isfinite(number).all()) for number in numbers)
        self._counters["skipped_updates"] += not finite
        self._counters[self._in_a_row] = 0 if finite else self._counters[self._in_a_row] + 1
        self._longest = max(self._longest, self._counters[self._in_a_row])
        return finite

    def check(self, run: Path, flag: str) -> None:
        """Raises UserError, which names the last good state, if `IN_A_ROW` updates in a row were skipped."""
        longest, self._longest = self._longest, 0.0
        if longest < IN_A_ROW:
            return
        latest = rotation(run).latest()
        way_out = "start again" if latest is None else f"go on from {latest}, the last good state, by --resume {run}"
        raise UserError(
            f"the loss or its gradient was not finite {IN_A_ROW} times in a row; {way_out} with a lower {flag}"
        )


def rotation(run: Path) -> CheckpointRotation:
    """The states of a run."""
    return CheckpointRotation(run / "trainer", keep_last=KEPT, prefix="step")


class RunState:
    """What a run needs to go on where it stopped: TorchRL's rotated checkpoints, tensors and JSON without pickle.

    Args:
        run: folder of the run.
        parts: objects with `state_dict` and `load_state_dict`; the generators of torch, numpy and Python are added.
    """

    def __init__(self, run: Path, **parts: Any) -> None:
        self.run = run
        self._rotation = rotation(run)
        self._checkpoint = Checkpoint(**parts, rng=GlobalRNGState())
        self._checkpoint.register_adapter(object, _LooksForSpace())

    def save(self, step: int) -> None:
        """Raises UserError if the disk refuses; what was saved before stays."""
        try:
            self._rotation.save(self._checkpoint, step=step)
        except OSError as error:
            raise UserError(
                f"cannot save {self.run}/trainer: {error.strerror}; free some space and go on with --resume {self.run}"
            ) from error

    def exists(self) -> bool:
        """Whether there is a state; a run that was stopped before its first one starts again at its beginning."""
        return any((self.run / "trainer").glob("step-*"))

    def restore(self) -> None:
        """Loads the newest state that can be read, and warns of those that cannot, which are put aside.

        Raises UserError if there is none or it does not fit this run's configuration.
        """
        folder = self.run / "trainer"
        for leftover in folder.glob(".*"):  # of a process that was killed while it saved
            shutil.rmtree(leftover, ignore_errors=True)
        pickles = [path for path in folder.rglob("*") if path.suffix in (".pt", ".pkl", ".pickle")]
        if pickles:
            raise UserError(f"{pickles[0]} is a pickle, which may run any code; such a state is not loaded")
        try:
            self._checkpoint.load(self._newest_whole(), map_location="cpu")  # from there, parts take it
        except UNREADABLE as error:
            raise UserError(f"the state in {folder} is damaged or of another configuration ({error})") from error

    def _newest_whole(self) -> Path:
        """All files are looked at before anything is loaded: a part that was loaded could not be taken back."""
        torn: dict[Path, Exception] = {}
        for path in sorted((self.run / "trainer").glob("step-*"), reverse=True):
            try:
                _check_files(path)
            except UNREADABLE as error:
                torn[path] = error
                continue
            for each, reason in torn.items():
                warnings.warn(f"{each} is damaged ({reason}); going on from {path}, the state before", stacklevel=3)
                aside = each.with_name(f"damaged-{each.name}")
                shutil.rmtree(aside, ignore_errors=True)
                each.rename(aside)
            return path
        raise next(iter(torn.values()))

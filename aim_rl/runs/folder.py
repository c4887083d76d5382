"""A run's folder: configuration, TensorBoard events, checkpoint, videos, results."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard.writer import SummaryWriter

from envs.errors import UserError
from envs.files import write_json


def new_run(task: str, out: Path | None, config: Any) -> Path:
    """Makes the folder of a run (`runs/<task>-<time>` unless `out` is given) and writes its config there.

    Raises:
        UserError: the folder cannot be made or written to, or holds a run that can be resumed or is done.
    """
    if out is not None and ((out / "trainer").exists() or (out / "result.json").exists()):
        raise UserError(f"{out} holds a run already; go on with it by --resume {out}, or choose another --out")
    run = out or Path("runs") / f"{task}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        run.mkdir(parents=True, exist_ok=out is not None)  # of two that begin in one second, one is told
        write_json(run / "config.json", {"command": sys.argv, **dataclasses.asdict(config)})
    except OSError as error:
        raise UserError(f"cannot write to {run}: {error.strerror}; choose another folder with --out") from error
    return run


def tensorboard(run: Path, first: int = 0) -> SummaryWriter:
    """Writer of `<run>/tensorboard` from step `first` on; what an interrupted run wrote after it, TensorBoard hides."""
    return SummaryWriter(run / "tensorboard", purge_step=first)


def check_writable(path: Path) -> None:
    """Checks, before hours are spent, that a file at `path` can be written; makes its parent folder.

    Raises:
        UserError: it cannot.
    """
    probe = path.parent / f".{path.name}.{os.getpid()}.probe"
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; choose another place")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place") from error


def gpu_or_cpu() -> torch.device:
    """Where a command runs its model: on an NVIDIA GPU, of torchrun's processes each on its own; else on the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def use_all_cores() -> None:
    """Lets torch use every core: while the model runs in this process, the worker processes wait."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch use one core: with several, oneDNN and MKL round differently from call to call.

    One unit in the last place is enough to end another way, once physics in contact has magnified it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

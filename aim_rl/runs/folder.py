"""A run's folder (configuration, TensorBoard events, checkpoint, videos, results), and where a run computes."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard.writer import SummaryWriter

from aim_rl.runs.environment import environment
from envs.errors import UserError
from envs.files import read_json, write_json

WRITTEN_TOO = {"command", "environment", "history"}
"""What config.json holds beside the settings."""


def new_run(task: str, out: Path | None, config: Any) -> Path:
    """Makes the folder of a run (`runs/<task>-<time>` unless `out` is given) and writes its config.json.

    Raises:
        UserError: the folder cannot be made or written to, or holds a run already or a config.json of another kind.
    """
    settings = dataclasses.asdict(config)
    if out is not None and ((out / "trainer").exists() or (out / "result.json").exists()):
        raise UserError(f"{out} holds a run already; go on with it by --resume {out}, or choose another --out")
    if out is not None and (out / "config.json").exists():
        found = read_json(out / "config.json")
        if not isinstance(found, dict) or found.keys() - WRITTEN_TOO != settings.keys():
            raise UserError(f"{out}/config.json is of a checkpoint or of another command; choose another --out")
    run = out or Path("runs") / f"{task}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        run.mkdir(parents=True, exist_ok=out is not None)  # two runs may start in one second
        written = {"command": sys.argv, **settings, "environment": environment()}
        write_json(run / "config.json", written)
    except OSError as error:
        raise UserError(f"cannot write to {run}: {error.strerror}; choose another folder with --out") from error
    return run


def command_of(run: Path) -> str:
    """The command that began a run, without its folder; "" where the run was begun from Python, or does not say it."""
    file = run / "config.json"
    command = read_json(file)["command"] if file.exists() else None
    if not (isinstance(command, list) and command and all(isinstance(word, str) for word in command)):
        return ""
    program, *arguments = command
    if "--out" in arguments:
        place = arguments.index("--out")
        del arguments[place : place + 2]
    arguments = [argument for argument in arguments if not argument.startswith("--out=")]
    name = re.split(r"[./-]", program.removesuffix(".py"))[-1]  # .../pretrain.py, aim_rl.pretrain, aim-rl-pretrain
    return f"python -m aim_rl.{name} {shlex.join(arguments)}"


def tensorboard(run: Path, first: int = 0) -> SummaryWriter:
    """Writer of `<run>/tensorboard` from step `first` on; TensorBoard hides later steps of an interrupted run."""
    return SummaryWriter(run / "tensorboard", purge_step=first)


def watch(run: Path) -> str:
    """The command that shows a run in TensorBoard, also where no virtual environment is activated."""
    program = "tensorboard" if shutil.which("tensorboard") else str(Path(sys.executable).with_name("tensorboard"))
    return shlex.join([program, "--logdir", str(run)])


def check_writable(path: Path) -> None:
    """Checks, before long work, that a file at `path` can be written; makes its parent folder.

    Raises:
        UserError: it cannot be written.
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
    """The device for the model: an NVIDIA GPU (under torchrun one per process) or else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def use_all_cores() -> None:
    """Lets torch use every core: worker processes wait while the model runs in this one."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch use one core: with several, oneDNN and MKL round differently from call to call.

    A difference in the last bit is enough to change an episode, because physics in contact amplifies it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

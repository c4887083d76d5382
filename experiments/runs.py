"""Shared by experiments: commands as subprocesses, curves from TensorBoard files, tables and plots."""

from __future__ import annotations

import csv
import ctypes
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aim_rl.runs.config import refuse_links
from aim_rl.runs.folder import new_run
from envs import resolve_task
from envs.errors import UserError
from envs.files import atomic_file, read_json

Array = NDArray[np.float64]
WINDOW = 5  # iterations of a running mean


def own_and_passed_on() -> tuple[list[str], list[str]]:
    """Arguments before and after `--`; `--resume OUT` stands for the arguments that created OUT.

    Raises:
        UserError: OUT is not the folder of an experiment.
    """
    if sys.argv[1:2] == ["--resume"]:
        sys.argv[1:] = _arguments_of(*map(Path, sys.argv[2:]))
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    return sys.argv[1:split], sys.argv[split + 1 :]


def _arguments_of(out: Path | None = None, *others: Path) -> list[str]:
    if out is None or others:
        raise UserError("--resume takes the folder of the experiment, and nothing else")
    try:
        arguments = [str(argument) for argument in json.loads((out / "config.json").read_text())["command"][1:]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out} is not the folder of an experiment: it has no config.json with its command") from error
    refuse_links(out)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [argument.partition("=")[0].replace("_", "-") for argument in arguments[split:]]
    for flag in ("--out", "--resume", "--robotwin-python"):
        if flag in flags:  # the folder may come from someone else
            raise UserError(f"{out}/config.json passes {flag} on; repeat the command itself to continue its runs")
    own = arguments[:split]
    elsewhere = [at for at, argument in enumerate(own) if argument.partition("=")[0] == "--out"]
    for at in reversed(elsewhere):  # the folder may have been moved
        del own[at : at + 1 + ("=" not in own[at])]
    return [*own, "--out", str(out), *arguments[split:]]


def begin(task: str, out: Path, config: Any, *free: str, passed_on: Sequence[str] = ()) -> None:
    """`new_run` in a folder that may hold results of the same settings; only `free` settings may differ.

    Raises:
        UserError: the results have other settings, so one table would mix them.
    """
    file = out / "config.json"
    if file.exists():
        before = read_json(file)
        try:
            words, before["task"] = before["command"], resolve_task(before["task"])
            now = json.loads(json.dumps(dataclasses.asdict(config), default=str)) | {"task": task}
            other = [name for name in now if name not in ("out", *free) and before.get(name) != now[name]]
            arguments = words[words.index("--") + 1 :] if "--" in words else []
        except (KeyError, TypeError) as error:
            raise UserError(f"{file} is not of this experiment ({error!r}); choose another --out") from error
        flags = [f"--{name.replace('_', '-')} {before.get(name)}" for name in other]
        flags += [" ".join(["--", *arguments])] if arguments != list(passed_on) else []
        if flags:
            raise UserError(f"{out} holds results of {', '.join(flags)}; repeat with that, or choose another --out")
    new_run(task, out, config)


def run(module: str, *options: object) -> None:
    """Runs `python -m module options`. Ctrl-C is passed on; the subprocess ends with this process.

    Raises:
        UserError: it failed; its output is above.
        KeyboardInterrupt: it stopped because of Ctrl-C.
    """
    command = [sys.executable, "-m", module, *map(str, options)]
    process = subprocess.Popen(command, process_group=0, preexec_fn=_end_with_parent)
    before = signal.signal(signal.SIGINT, lambda *_: process.send_signal(signal.SIGINT))
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        raise UserError(f"{module} failed (see above); fix it and repeat the command: finished runs are kept")


def _end_with_parent() -> None:
    """prctl(PR_SET_PDEATHSIG) of Linux: otherwise an orphaned run would compete with its successor."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run_or_go_on(module: str, folder: Path, options: Sequence[object], passed_on: Sequence[str]) -> None:
    """Runs `python -m module options passed_on --out folder`, or continues the run that was interrupted there."""
    if (folder / "config.json").exists():
        run(module, *passed_on, "--resume", folder)
    else:
        run(module, *options, *passed_on, "--out", folder)


def scalars(run: Path, tag: str) -> tuple[Array, Array]:
    """Environment steps and values of one TensorBoard scalar of a run."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    points = events.Scalars(tag)
    return np.array([point.step for point in points], float), np.array([point.value for point in points], float)


def smooth(steps: Array, values: Array) -> tuple[Array, Array]:
    """Running means over `WINDOW` points, each at the step of its last point."""
    window = min(WINDOW, len(values))
    return steps[window - 1 :], np.convolve(values, np.ones(window) / window, "valid")


def steps_to(threshold: float, steps: Array, values: Array) -> int | None:
    """The first environment step at which the running mean reaches the threshold; None if it never does."""
    at, mean = smooth(steps, values)
    reached = np.flatnonzero(mean >= threshold - 1e-9)
    return int(at[reached[0]]) if len(reached) else None


def of_each(seeds: Sequence[Mapping[str, Any]]) -> str:
    """`82, 86, 82 (2.3)`: success of each training seed and their standard deviation, in per cent.

    An interval over all their episodes is too narrow to compare rewards: episodes of one training are not independent.
    """
    rates = [100 * one["successes"] / one["episodes"] for one in seeds]
    each = ", ".join(f"{rate:.0f}" for rate in rates)
    return each if len(rates) < 2 else f"{each} ({stdev(rates):.1f})"


def band(axes: Axes, curves: Sequence[tuple[Array, Array]], label: str, colour: str) -> None:
    """Plots the mean of several smoothed curves and the band between minimum and maximum."""
    curves = [smooth(*curve) for curve in curves]
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    grid = np.linspace(first, max(first, last), 100)
    values = np.stack([np.interp(grid, *curve) for curve in curves])
    axes.plot(grid / 1000, values.mean(0), color=colour, label=label)
    axes.fill_between(grid / 1000, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One line per row; the first row's keys are the columns."""
    rows = list(rows)
    with atomic_file(path) as aside, aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes and prints a Markdown table below the command that made it."""
    module = sys.modules["__main__"].__spec__
    name = module.name.removesuffix(".__main__") if module else Path(sys.argv[0]).stem
    command = " ".join(["python -m", name, *sys.argv[1:]])
    lines = [" | ".join(map(str, row)) for row in (columns, ["---"] * len(columns), *rows)]
    with atomic_file(path) as aside:
        aside.write_text("\n".join([f"`{command}`", "", *(f"| {line} |" for line in lines), ""]))
    print(path.read_text())

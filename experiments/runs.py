"""What experiments of many runs share: commands as subprocesses, curves read back, tables and plots with intervals."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from envs.errors import UserError

Array = NDArray[np.float64]
WINDOW = 5  # iterations that a curve is averaged over


def own_and_passed_on() -> tuple[list[str], list[str]]:
    """The command line's arguments before and after `--`."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    return sys.argv[1:split], sys.argv[split + 1 :]


def run(module: str, *options: object) -> None:
    """Runs `python -m module options`.

    Raises:
        UserError: it failed; what it printed is above.
    """
    if subprocess.run([sys.executable, "-m", module, *map(str, options)]).returncode:
        raise UserError(f"{module} failed (see above); mend it and repeat the command: finished runs are kept")


def scalars(run: Path, tag: str) -> tuple[Array, Array]:
    """Environment steps and values of one of a run's TensorBoard scalars."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    points = events.Scalars(tag)
    return np.array([point.step for point in points], float), np.array([point.value for point in points], float)


def smooth(steps: Array, values: Array) -> tuple[Array, Array]:
    """Running means over `WINDOW` points, each at its last step."""
    window = min(WINDOW, len(values))
    return steps[window - 1 :], np.convolve(values, np.ones(window) / window, "valid")


def steps_to(threshold: float, steps: Array, values: Array) -> int | None:
    """The first environment step at which the running mean reaches the threshold; None if it never does."""
    at, mean = smooth(steps, values)
    reached = np.flatnonzero(mean >= threshold - 1e-9)
    return int(at[reached[0]]) if len(reached) else None


def band(axes: Axes, curves: Sequence[tuple[Array, Array]], label: str, colour: str) -> None:
    """Mean of several runs' smoothed curves, and the band between their least and largest value."""
    curves = [smooth(*curve) for curve in curves]
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    grid = np.linspace(first, max(first, last), 100)
    values = np.stack([np.interp(grid, *curve) for curve in curves])
    axes.plot(grid / 1000, values.mean(0), color=colour, label=label)
    axes.fill_between(grid / 1000, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One line per row; the first row's keys are the columns."""
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Markdown, below the command that made it; also printed."""
    module = sys.modules["__main__"].__spec__
    command = " ".join(["python -m", module.name if module else Path(sys.argv[0]).stem, *sys.argv[1:]])
    lines = [" | ".join(map(str, row)) for row in (columns, ["---"] * len(columns), *rows)]
    path.write_text("\n".join([f"`{command}`", "", *(f"| {line} |" for line in lines), ""]))
    print(path.read_text())

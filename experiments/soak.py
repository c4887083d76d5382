"""Runs Stage II for hours while its processes are killed and stopped: `python -m experiments.soak --hours 1 --out DIR`.

Runs `aim_rl.finetune` into DIR/run. At random moments one of its worker processes gets SIGKILL (as when memory runs
out) or SIGSTOP (a hang). Arguments after `--` go to finetune. Writes soak.csv during the run (memory and descriptors of
all processes, faults, replacements, episodes per second), then soak.png and table.md.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil
import tyro
from tensorboard.backend.event_processing.directory_watcher import DirectoryDeletedError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aim_rl.runs.folder import check_writable
from envs.errors import UserError, exit_cleanly
from experiments.runs import own_and_passed_on, write_csv, write_table

EVERY = 10.0  # seconds between two rows
LOADED = 60.0  # age in seconds from which a process may be broken; importing takes so long on a busy machine
GOODBYE = 600.0  # seconds that the run may take to stop
ENDLESS = 20_000  # iterations: days
UNDER_TEST = "aim_rl.finetune"


@dataclass
class SoakConfig:
    """Stage II under faults."""

    out: Path
    """Folder of the run, the table and the plot."""
    task: str = "stack_blocks_two"
    """RoboTwin's task name."""
    hours: float = 1.0
    fault_every: float = 60.0
    """Mean seconds between two random faults."""
    seed: int = 0
    """Seed of the faults."""


@dataclass
class Sample:
    """One row of soak.csv; sums are over the run and all its child processes."""

    seconds: float
    main_mb: float
    """Resident memory of the main process."""
    all_mb: float
    """Proportional set size: shared memory counts once."""
    main_descriptors: int
    all_descriptors: int
    processes: int
    kills: int
    stops: int
    replaced: int
    """Replaced worker processes, from the run's TensorBoard events (written at the end of an iteration)."""
    iterations: int
    episodes_per_s: float
    """Episodes per second of the last iteration."""


class Soak:
    """The run under test and its faults.

    Args:
        config: duration and fault rate.
        process: the running `UNDER_TEST`.
    """

    def __init__(self, config: SoakConfig, process: subprocess.Popen[bytes]) -> None:
        self.config, self.process = config, process
        self._tree, self._rng = psutil.Process(process.pid), np.random.default_rng(config.seed)
        self._started = time.monotonic()
        self._next_fault = self._started + self._rng.exponential(config.fault_every)
        self._events = EventAccumulator(str(config.out / "run" / "tensorboard"), size_guidance={"scalars": 0})
        self.faults = {signal.SIGKILL: 0, signal.SIGSTOP: 0}

    def samples(self) -> Iterator[Sample]:
        """A sample every `EVERY` seconds until the time is up or the run has ended."""
        while (seconds := time.monotonic() - self._started) < 3600 * self.config.hours and self.process.poll() is None:
            if time.monotonic() > self._next_fault and self._break_one():
                self._next_fault = time.monotonic() + self._rng.exponential(self.config.fault_every)
            yield self._sample(seconds)
            time.sleep(EVERY)

    def _break_one(self) -> bool:
        """Breaks one worker process; returns False if none is ready."""
        loaded = [child for child in simulators(self._tree) if time.time() - child.create_time() > LOADED]
        running = [child for child in loaded if child.status() != psutil.STATUS_STOPPED]
        if not running:
            return False
        how = (signal.SIGKILL, signal.SIGSTOP)[self._rng.integers(2)]
        running[self._rng.integers(len(running))].send_signal(how)
        self.faults[how] += 1
        return True

    def _sample(self, seconds: float) -> Sample:
        memory, descriptors, processes = 0, 0, 0
        for process in [self._tree, *self._tree.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has just ended
                memory += process.memory_full_info().pss
                descriptors += process.num_fds()
                processes += 1
        replaced, speed = self._logged("simulator_restarts"), self._logged("speed/episodes_per_s")
        main_memory, main_descriptors = 0, 0
        with contextlib.suppress(psutil.Error):
            main_memory, main_descriptors = self._tree.memory_info().rss, self._tree.num_fds()
        return Sample(
            round(seconds, 1),
            round(main_memory / 2**20, 1),
            round(memory / 2**20, 1),
            main_descriptors,
            descriptors,
            processes,
            self.faults[signal.SIGKILL],
            self.faults[signal.SIGSTOP],
            int(sum(replaced)),
            len(speed),
            round(speed[-1], 3) if speed else 0.0,
        )

    def _logged(self, tag: str) -> list[float]:
        with contextlib.suppress(KeyError, DirectoryDeletedError):  # nothing yet
            return [event.value for event in self._events.Reload().Scalars(f"stage2/{tag}")]
        return []

    def stop(self) -> list[psutil.Process]:
        """Sends Ctrl-C; returns the processes that were left behind, after killing them."""
        family = self._tree.children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        left = psutil.wait_procs(family, timeout=10)[1]
        for process in left:
            process.kill()
        return left


def simulators(tree: psutil.Process) -> list[psutil.Process]:
    """The run's worker processes, without multiprocessing's resource tracker."""
    found = []
    for child in tree.children():
        with contextlib.suppress(psutil.Error):
            if any("spawn_main" in part for part in child.cmdline()):
                found.append(child)
    return found


def plot(path: Path, rows: list[Sample]) -> None:
    """Memory, descriptors and speed against time; faults as marks."""
    minutes = np.array([row.seconds for row in rows]) / 60
    figure, axes = plt.subplots(3, 1, figsize=(9, 8), sharex=True)
    for axis, names, label in (
        (axes[0], ("all_mb", "main_mb"), "memory (MB)"),
        (axes[1], ("all_descriptors", "main_descriptors", "processes"), "number"),
        (axes[2], ("episodes_per_s",), "episodes/s"),
    ):
        for name in names:
            axis.plot(minutes, [getattr(row, name) for row in rows], label=name.replace("_", " "))
        axis.set(ylabel=label, ylim=(0, None))
        for name, colour in (("kills", "tab:red"), ("stops", "tab:purple")):
            counts = np.array([getattr(row, name) for row in rows])
            at = minutes[np.flatnonzero(np.diff(counts, prepend=0))]
            axis.plot(at, np.zeros_like(at), "|", color=colour, markersize=10, label=name)
        axis.legend(loc="center right", fontsize="small")
    axes[2].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def quarter(rows: list[Sample], which: int, name: str) -> float:
    """Median of a column over one quarter (0 to 3) of the time."""
    values = [getattr(row, name) for row in rows]
    return float(np.median(np.array_split(values, 4)[which]))


def main() -> None:
    own, arguments = own_and_passed_on()
    config = tyro.cli(SoakConfig, args=own, description=__doc__)
    if not (config.hours > 0 and config.fault_every > 0):
        raise UserError("--hours and --fault-every must be above 0")
    check_writable(config.out / "soak.csv")
    # A background job of a script ignores Ctrl-C, and the run would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = ["--task", config.task, "--out", str(config.out / "run"), "--iterations", str(ENDLESS)]
    command += ["--no-measure-stage1", *arguments]
    with (config.out / "log.txt").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", UNDER_TEST, *command], stdout=log, stderr=log)
    soak, rows, left = Soak(config, process), list[Sample](), list[psutil.Process]()
    try:
        for row in soak.samples():
            rows.append(row)
            write_csv(config.out / "soak.csv", map(asdict, rows))
    finally:
        ended_by_itself = process.poll() is not None
        left = soak.stop()
    if ended_by_itself:
        raise UserError(
            f"the run did not survive {asdict(rows[-1]) if rows else 'its start'}; see {config.out}/log.txt"
        )
    plot(config.out / "soak.png", rows)
    last, lines = rows[-1], []
    for name in ("main_mb", "all_mb", "main_descriptors", "all_descriptors", "processes", "episodes_per_s"):
        lines.append((name.replace("_", " "), f"{quarter(rows, 1, name):.4g}", f"{quarter(rows, 3, name):.4g}"))
    lines += [
        ("faults: kills, stops", "", f"{last.kills}, {last.stops}"),
        ("simulator processes replaced", "", last.replaced),
        ("iterations", "", last.iterations),
        ("exit code after Ctrl-C", "", process.returncode),
        ("processes left behind", "", len(left)),
    ]
    write_table(config.out / "table.md", ["", "second quarter (median)", "last quarter, or at the end"], lines)


if __name__ == "__main__":
    exit_cleanly(main)

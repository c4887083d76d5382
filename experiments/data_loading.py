"""What reading demonstrations costs Stage I: `python -m experiments.data_loading --fits DIR --data DIR`.

Steps per second, in turns within one run: with the arrays of a set that fits copied into memory and batches prepared by
the training process itself (as before 0.2), with the same set on disk and a worker, and with a set of any size; and the
CPU time of a step, workers included, which other programs on the machine change less. Memory, in two processes at once
that open the set and draw batches as `pretrain` does, each with its worker: what they hold (anonymous and shared
memory).
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch
import tyro
from torch import Tensor

from aim_rl.data.dataset import DemonstrationSet
from aim_rl.runs.folder import gpu_or_cpu, use_all_cores
from aim_rl.runs.processes import Processes, place
from aim_rl.supervised.batches import micro_batches
from aim_rl.supervised.config import ALL_TASKS, PretrainConfig
from aim_rl.supervised.trainer import accumulate_gradients, fit_normalisers, new_model
from envs.errors import exit_cleanly

DRAWN = 200  # batches, before memory is measured


@dataclass
class DataLoadingConfig:
    """Times Stage I's steps with data in memory and on disk, and measures the memory that a process more takes."""

    fits: Path
    """Demonstrations that fit into memory."""
    data: Path | None = None
    """Demonstrations of any size, too."""
    preset: str = "small"
    """tiny, small or wan2.2-5b."""
    batch_size: int = 64
    """Chunks per step."""
    workers: int = 1
    """As `pretrain --workers`."""
    steps: int = 10
    """Steps of a turn."""
    turns: int = 7
    """Turns of each kind."""


class InMemory(DemonstrationSet):
    """Demonstrations whose arrays are copied into memory."""

    def __init__(self, data: DemonstrationSet) -> None:
        vars(self).update(vars(data))
        self._arrays = {name: array.clone() for name, array in data._arrays.items()}
        self._images = {name: array[torch.arange(data.frames)] for name, array in data._images.items()}


def steps_per_second(config: DataLoadingConfig) -> list[str]:
    """Rows of a table: the speed and the CPU time of each kind, medians, and their share of the first in a turn."""
    use_all_cores()
    recipe = PretrainConfig(
        task=ALL_TASKS, data=config.fits, preset=config.preset, batch_size=config.batch_size, workers=config.workers
    )
    here = Processes(0, 1, gpu_or_cpu())
    fits = DemonstrationSet(config.fits, recipe.sizes)
    model = new_model(recipe, here)
    fit_normalisers(model, fits)
    place(model, here)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    kinds = {
        f"{fits.episodes} episodes in memory, no worker": micro_batches(
            InMemory(fits), replace(recipe, workers=0), here
        ),
        f"{fits.episodes} episodes on disk": micro_batches(fits, recipe, here),
    }
    if config.data is not None:
        large = DemonstrationSet(config.data, recipe.sizes)
        kinds[f"{large.episodes} episodes on disk"] = micro_batches(large, recipe, here)

    def turn(batches: Iterator[dict[str, Tensor]], steps: int) -> tuple[float, float]:
        started, cpu = time.perf_counter(), cpu_seconds()
        for _ in range(steps):
            optimizer.zero_grad()
            accumulate_gradients(model, batches, recipe, here)  # waits for the GPU, to return its losses
            optimizer.step()
        return steps / (time.perf_counter() - started), (cpu_seconds() - cpu) / steps

    for batches in kinds.values():
        turn(batches, 2)
    turns = np.array([[turn(batches, config.steps) for batches in kinds.values()] for _ in range(config.turns)])
    shares = turns / turns[:, :1]
    return [
        f"| {name} | "
        + " | ".join(
            f"{np.median(turns[:, kind, which]):.2f} | {100 * np.median(shares[:, kind, which]):.1f} % "
            f"({100 * shares[:, kind, which].min():.1f} .. {100 * shares[:, kind, which].max():.1f})"
            for which in (0, 1)
        )
        + " |"
        for kind, name in enumerate(kinds)
    ]


def cpu_seconds() -> float:
    """CPU time of this process and its workers."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children())]
    return sum(each.user + each.system for each in times)


def memory_of(*processes: int | str) -> float:
    """MB that processes hold in anonymous and shared memory; what they share with others is divided among all."""
    texts = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]
    return sum(int(size) for text in texts for size in re.findall(r"Pss_(?:Anon|Shmem): +(\d+) kB", text)) / 1000


def hold(config: DataLoadingConfig) -> None:
    """Opens the demonstrations and draws batches; prints MB held before, and then with the workers."""
    recipe = PretrainConfig(
        task=ALL_TASKS, data=Path(), preset=config.preset, batch_size=config.batch_size, workers=config.workers
    )
    before = memory_of("self")
    data = DemonstrationSet(config.data or config.fits, recipe.sizes)
    batches = micro_batches(data, recipe, Processes(0, 1, torch.device("cpu")))
    for _ in itertools.islice(batches, DRAWN):
        pass
    held = memory_of("self", *(worker.pid for worker in psutil.Process().children()))
    print("memory", before, held, held - before, flush=True)
    sys.stdin.readline()  # until the other process has measured, too


def memory(config: DataLoadingConfig) -> list[str]:
    """Rows of a table: memory of two processes that are alive at once."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in vars(config).items() if value is not None]
    command = [sys.executable, "-c", "from experiments.data_loading import *; hold(tyro.cli(DataLoadingConfig))"]
    running, rows = [], []
    for number in (1, 2):
        process = subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        words = next(line for line in process.stdout if line.startswith("memory")).split()[1:]
        rows.append(f"| process {number} | " + " | ".join(f"{float(word):.0f}" for word in words) + " |")
    for process in running:
        process.communicate("\n")
    return rows


def data_loading(config: DataLoadingConfig) -> str:
    """Two tables in Markdown."""
    speeds = ["| data | steps/s | share of the first, same turn | CPU s per step | share of the first |"]
    speeds += ["|---|---|---|---|---|", *steps_per_second(config)]
    header = "| | MB held by Python and torch | with data, batches and workers | more |"
    return "\n".join([*speeds, "", header, "|---|---|---|---|", *memory(config)])


def main() -> None:
    print(data_loading(tyro.cli(DataLoadingConfig, description=__doc__)))


if __name__ == "__main__":
    exit_cleanly(main)

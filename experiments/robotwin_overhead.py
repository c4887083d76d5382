"""Measures the overhead of RoboTwin's worker process.

`python -m experiments.robotwin_overhead --root DIR --python PYTHON` runs RoboTwin with and without the worker and
alternates between the two, call by call: `take_action` on the same joint targets, then an observation of three cameras.
Without the worker, RoboTwin's own classes run in RoboTwin's interpreter, and pictures are taken as in its `get_obs`.
Prints medians of processor time (with the worker: of both processes), which hold on a busy machine too, and of elapsed
time.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from envs.errors import exit_cleanly
from envs.robotwin import worker
from envs.robotwin.checkout import open_checkout
from envs.robotwin.env import RoboTwinEnv

LIMIT = 0.05  # largest accepted overhead
CALLS = ("action", "observation")
Seconds = dict[str, tuple[float, float]]  # call -> processor and elapsed time

DIRECT = """
import json, os, sys, time
options = json.loads(sys.argv[1])
sys.path.insert(0, options["worker"])
import worker
sys.path[0] = os.getcwd()
arguments, _ = worker.load_arguments(options["task"], options["config"], worker.Path(options["configs"]))
task = worker.import_task(options["task"])()
worker.use_shader("default")
task.setup_demo(now_ep_num=0, seed=0, is_test=True, **arguments)
def observe():
    task._update_render()
    cameras = [task.cameras.left_camera, task.cameras.right_camera]
    named = dict(zip(task.cameras.static_camera_name, task.cameras.static_camera_list))
    cameras.append(named["head_camera"])
    for camera in cameras:
        camera.take_picture()
    for camera in cameras:
        (camera.get_picture("Color") * 255).clip(0, 255).astype("uint8")[:, :, :3]
    task.cameras.get_config()
def clocks():
    return time.process_time(), time.perf_counter()
observe()
for line in sys.stdin:
    target = worker.np.array(json.loads(line))
    started = clocks()
    task.take_action(target, action_type="qpos")
    acted = clocks()
    observe()
    observed = clocks()
    print("\\nRESULT", json.dumps([started, acted, observed]), flush=True)
"""


@dataclass
class OverheadConfig:
    """Measures the overhead of RoboTwin's worker process."""

    root: Path
    """The RoboTwin checkout."""
    python: Path
    """The Python that RoboTwin was installed into."""
    task: str = "stack_blocks_two"
    config: str = "demo_clean"
    actions: int = 20
    rounds: int = 3
    """Pairs of processes, one after the other."""


def targets(actions: int) -> list[list[float]]:
    """Joint targets that alternate between two poses, about 110 physics steps each."""
    away = [0.05] * 6 + [1.0] + [-0.05] * 6 + [1.0]
    home = [0.0] * 6 + [1.0] + [0.0] * 6 + [1.0]
    return [home if index % 2 else away for index in range(actions)]


def between(moments: list[tuple[float, float]]) -> Seconds:
    """Seconds of each call, from clocks (processor, elapsed) read before, between and after the calls."""
    pairs = zip(CALLS, moments[:-1], moments[1:], strict=True)
    return {call: (after[0] - before[0], after[1] - before[1]) for call, before, after in pairs}


class Direct:
    """RoboTwin without the worker."""

    def __init__(self, config: OverheadConfig) -> None:
        options = {
            "worker": str(Path(worker.__file__).parent),
            "task": config.task,
            "config": config.config,
            "configs": open_checkout(config.root, config.task).configs,
        }
        command = [str(config.python), "-c", DIRECT, json.dumps(options)]
        self._process = subprocess.Popen(
            command, cwd=config.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, target: list[float]) -> Seconds:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(target), file=self._process.stdin, flush=True)
        line = next(line for line in self._process.stdout if line.startswith("RESULT"))
        return between(json.loads(line.removeprefix("RESULT")))

    def close(self) -> None:
        self._process.communicate()


class Through:
    """RoboTwin with the worker, through the environment."""

    def __init__(self, config: OverheadConfig) -> None:
        self._env = RoboTwinEnv(config.task, config.root, config.python, config.config)
        self._env.reset(seed=0)

    def __call__(self, target: list[float]) -> Seconds:
        moments = [self._clocks()]
        self._env.control(np.array(target))
        moments.append(self._clocks())
        self._env.observe()
        return between([*moments, self._clocks()])

    def _clocks(self) -> tuple[float, float]:
        """Processor time of the worker and of this process, and the elapsed time."""
        assert self._env._worker is not None
        theirs = ~self._env._worker._process.pid << 3 | 2  # clock_getcpuclockid(3) on Linux
        return time.clock_gettime(theirs) + time.process_time(), time.perf_counter()

    def close(self) -> None:
        self._env.close()


def measure(config: OverheadConfig) -> list[tuple[Seconds, Seconds]]:
    """Seconds of every action and observation, (without, with) the worker."""
    ways = (Direct(config), Through(config))
    measured = []
    for index, target in enumerate(targets(config.actions)):
        order = (0, 1) if index // 2 % 2 else (1, 0)  # each goes first equally often
        seconds = {way: ways[way](target) for way in order}
        measured.append((seconds[0], seconds[1]))
    for way in ways:
        way.close()
    return measured


def main() -> None:
    config = tyro.cli(OverheadConfig, description=__doc__)
    measured = [pair for _ in range(config.rounds) for pair in measure(config)]
    for call in CALLS:
        for clock, name in enumerate(("processor", "elapsed")):
            without, through = (1000 * statistics.median(pair[way][call][clock] for pair in measured) for way in (0, 1))
            extra = through / without - 1
            verdict = f", {'within' if extra <= LIMIT else 'above'} 5 %" if name == "processor" else ""
            print(f"{call}, {name} time: {without:.1f} ms without, {through:.1f} ms with: {extra:+.1%}{verdict}")


if __name__ == "__main__":
    exit_cleanly(main)

"""How fast the tabletop is: `python -m experiments.simulator_speed --out DIR`.

Replays the expert's actions, so that the expert itself takes no time, with one observation of the three cameras per 16
control steps (head 96x64, wrists 48x48), and times resets without a picture. All times are the processor's, summed
over the threads of this process: per core, and the same on a busy machine. Without a GPU they include the drawing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import tyro
from rich.progress import track

from aim_rl.runs import check_writable
from envs.errors import UserError, exit_cleanly
from envs.tabletop.env import TabletopEnv
from envs.tabletop.tasks import task_names
from experiments.runs import write_table

EXECUTE = 16  # control steps per observation
HEAD, WRIST = (64, 96), (48, 48)  # px


@dataclass
class SimulatorSpeedConfig:
    """Times every task."""

    out: Path
    """Folder of table.md."""
    setting: Literal["clean", "randomized"] = "clean"
    episodes: int = 3
    """Per task, replayed from the first seeds."""


def speed(task: str, setting: str, episodes: int) -> tuple[float, float]:
    """Control steps per processor second, and processor seconds per reset, of one task."""
    env = TabletopEnv(task, setting, HEAD, WRIST)
    steps, acting, resetting = 0, 0.0, []
    for seed in range(episodes):
        env.restart(seed)
        env.observe()  # the first picture of a process compiles the shaders
        actions, solved = [], False
        while not solved and env.steps < env.step_limit:
            actions.append(env.expert_action())
            solved = env.control(actions[-1])
        started = time.process_time()
        env.restart(seed)
        resetting.append(time.process_time() - started)
        started = time.process_time()
        for step, action in enumerate(actions):
            if step % EXECUTE == 0:
                env.observe()
            env.control(action)
        acting += time.process_time() - started
        steps += len(actions)
    return steps / acting, median(resetting)


def main() -> None:
    config = tyro.cli(SimulatorSpeedConfig, description=__doc__)
    if config.episodes < 1:
        raise UserError("--episodes must be at least 1")
    check_writable(config.out / "table.md")
    found = {task: speed(task, config.setting, config.episodes) for task in track(task_names(), "Timing")}
    rows = [(task, f"{rate:.0f}", f"{1000 * reset:.0f}") for task, (rate, reset) in found.items()]
    rates, resets = zip(*found.values(), strict=True)
    rows.append(("median task", f"{median(rates):.0f}", f"{1000 * median(resets):.0f}"))
    write_table(config.out / "table.md", ["task", "control steps per second and core", "reset (ms)"], rows)


if __name__ == "__main__":
    exit_cleanly(main)

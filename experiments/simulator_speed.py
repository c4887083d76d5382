"""Times the built-in simulator: `python -m experiments.simulator_speed --out DIR`.

Replays recorded actions of the expert, with one observation of three cameras per 16 control steps (head 96x64, wrists
48x48), and times resets without pictures. Times are processor time summed over the threads of this process, so they
hold per core and on a busy machine; without a GPU they include rendering. If `mani_skill` is installed, its
TwoRobotStackCube-v1 is timed the same way (random actions, CPU physics).
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Literal

import gymnasium as gym
import tyro
from rich.progress import track

from aim_rl.runs.folder import check_writable
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


def seconds(action: Callable[[], object]) -> float:
    """Processor seconds of `action`."""
    started = time.process_time()
    action()
    return time.process_time() - started


def speed(task: str, setting: str, episodes: int) -> tuple[float, float, float]:
    """Control steps per processor second with and without pictures, and processor seconds per reset, of one task."""
    env = TabletopEnv(task, setting, HEAD, WRIST)
    steps, acting, observing, resetting = 0, 0.0, 0.0, []
    for seed in range(episodes):
        env.restart(seed)
        env.observe()  # the first picture compiles the shaders
        actions, solved = [], False
        while not solved and env.steps < env.step_limit:
            actions.append(env.expert_action())
            solved = env.control(actions[-1])
        resetting.append(seconds(lambda seed=seed: env.restart(seed)))
        for step, action in enumerate(actions):
            if step % EXECUTE == 0:
                observing += seconds(env.observe)
            acting += seconds(lambda action=action: env.control(action))
        steps += len(actions)
    return steps / (acting + observing), steps / acting, median(resetting)


def maniskill_speed(episodes: int) -> tuple[float, float, float]:
    """As `speed`, for ManiSkill's TwoRobotStackCube-v1.

    Its `step` always observes, so steps and pictures are timed separately.
    """
    import mani_skill.envs  # noqa: F401  # pyright: ignore[reportMissingImports]  # registers its environments

    def make(observations: str) -> Any:
        wrist = {"height": WRIST[0], "width": WRIST[1]}
        cameras = {f"panda_wristcam-{arm}-hand_camera": wrist for arm in (0, 1)}
        cameras["base_camera"] = {"height": HEAD[0], "width": HEAD[1]}
        task: dict[str, Any] = {"obs_mode": observations, "sensor_configs": cameras, "sim_backend": "physx_cpu"}
        return gym.make("TwoRobotStackCube-v1", **task)

    def act() -> None:
        for _ in range(10 * EXECUTE):
            blind.step(blind.action_space.sample())

    blind, seeing = make("none"), make("rgb")
    blind.action_space.seed(0)
    seeing.reset(seed=0)
    acting, observing, resetting = [], [], []
    for seed in range(episodes):
        resetting.append(seconds(lambda seed=seed: blind.reset(seed=seed)))
        acting.append(seconds(act) / (10 * EXECUTE))
        observing.append(seconds(seeing.unwrapped.get_obs))
    step = median(acting)
    return 1 / (step + median(observing) / EXECUTE), 1 / step, median(resetting)


def main() -> None:
    config = tyro.cli(SimulatorSpeedConfig, description=__doc__)
    if config.episodes < 1:
        raise UserError("--episodes must be at least 1")
    check_writable(config.out / "table.md")
    found = {task: speed(task, config.setting, config.episodes) for task in track(task_names(), "Timing")}
    rates, blind_rates, resets = zip(*found.values(), strict=True)
    found["median task"] = median(rates), median(blind_rates), median(resets)
    if importlib.util.find_spec("mani_skill"):
        # In its own process: SAPIEN renders on one device per process, and ManiSkill selects it differently.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            found["ManiSkill's TwoRobotStackCube-v1"] = process.submit(maniskill_speed, config.episodes).result()
    columns = ["task", "control steps per second and core", "the same without pictures", "reset (ms)"]
    rows = [
        (name, *(f"{rate:.0f}" for rate in rates), f"{1000 * reset:.1f}") for name, (*rates, reset) in found.items()
    ]
    write_table(config.out / "table.md", columns, rows)


if __name__ == "__main__":
    exit_cleanly(main)

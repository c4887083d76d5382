"""Runs the scripted experts: results and videos."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from envs.constants import CONTROL_STEP
from envs.errors import UserError
from envs.files import atomic_file
from envs.tabletop.env import TabletopEnv

FRAMES_PER_SECOND = round(1 / CONTROL_STEP)
RESULT_KEYS = {
    *("task", "setting", "seed", "episodes", "successes", "success_rate", "seconds_per_episode", "mean_steps")
}
"""What every result file has; those of version 0.1 have nothing else."""


def check_output(path: Path) -> None:
    """Checks that a file can be written at `path`; leaves nothing there.

    Raises:
        UserError: it cannot.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        probe.touch()
        probe.unlink()
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a file in a writable folder") from error


def run_expert(
    task: str, setting: str, seeds: range, video: Path | None = None, console: Console | None = None
) -> dict[str, Any]:
    """Runs the expert once per seed.

    Args:
        task: resolved task name.
        setting: "clean" or "randomized".
        seeds: one episode each.
        video: file that receives every frame of every episode; nothing is rendered without it.
        console: where the progress line goes.

    Returns:
        task, setting, seed (of the first episode), episodes, successes, success_rate, failed_seeds, seconds_per_episode
        (processor time) and mean_steps (control steps).

    Raises:
        UserError: the video cannot be written.
    """
    env = TabletopEnv(task, setting=setting)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[successes]} solved"),
        TimeRemainingColumn(),
    )
    failed, steps, writer = [], 0, None
    start = time.process_time()
    with ExitStack() as files, Progress(*columns, console=console) as progress:
        if video is not None:
            import imageio

            writer = files.enter_context(
                imageio.get_writer(files.enter_context(atomic_file(video)), fps=FRAMES_PER_SECOND)
            )
        line = progress.add_task(f"{task} ({setting})", total=len(seeds), successes=0)
        for done, seed in enumerate(seeds, 1):
            if not run_episode(env, seed, writer):
                failed.append(seed)
            steps += env.steps
            progress.update(line, advance=1, successes=done - len(failed))
    successes = len(seeds) - len(failed)
    return {
        "task": task,
        "setting": setting,
        "seed": seeds.start,
        "episodes": len(seeds),
        "successes": successes,
        "success_rate": successes / len(seeds),
        "failed_seeds": failed,
        "seconds_per_episode": (time.process_time() - start) / len(seeds),
        "mean_steps": steps / len(seeds),
    }


def run_episode(env: TabletopEnv, seed: int, writer: Any) -> bool:
    """One episode of the expert, to success or the step limit; frames go to `writer` unless it is None."""
    env.restart(seed)
    solved = False
    while not solved and env.steps < env.step_limit:
        if writer is not None:
            writer.append_data(frame(env))
        solved = env.control(env.expert_action())
    if writer is not None:
        writer.append_data(frame(env))
    return solved


def frame(env: TabletopEnv) -> NDArray[np.uint8]:
    """The picture for people, beside it both wrist pictures: u8 [480, 960, 3]."""
    view, seen = env.view().picture, env.scene.render()
    return np.concatenate([view, np.concatenate([seen["left_camera"], seen["right_camera"]])], axis=1)

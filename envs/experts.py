"""Running the scripted experts: results, videos and the files they go to."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from envs.errors import UserError
from envs.tabletop.env import TabletopEnv

FRAMES_PER_SECOND = 17  # control steps per second
RESULT_KEYS = {
    *("task", "setting", "seed", "episodes", "successes", "success_rate", "seconds_per_episode", "mean_steps")
}


def check_output(path: Path) -> None:
    """Raise `UserError` unless a file can be written at `path`; nothing is left there."""
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
        task, setting, seed (of the first episode), episodes, successes, success_rate, seconds_per_episode (of the
        processor, whatever else it does meanwhile) and mean_steps (control steps).
    """
    env = TabletopEnv(task, setting=setting)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[successes]} solved"),
        TimeRemainingColumn(),
    )
    successes, steps, writer = 0, 0, None
    start = time.process_time()
    partial = video.with_name(f".{video.stem}.{os.getpid()}{video.suffix}") if video else None
    try:
        if partial is not None:
            import imageio

            writer = imageio.get_writer(partial, fps=FRAMES_PER_SECOND)
        with Progress(*columns, console=console) as progress:
            line = progress.add_task(f"{task} ({setting})", total=len(seeds), successes=0)
            for seed in seeds:
                successes += run_episode(env, seed, writer)
                steps += env.steps
                progress.update(line, advance=1, successes=successes)
        if writer is not None and partial is not None and video is not None:
            writer.close()
            partial.replace(video)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return {
        "task": task,
        "setting": setting,
        "seed": seeds.start,
        "episodes": len(seeds),
        "successes": successes,
        "success_rate": successes / len(seeds),
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
    """Head and wrist pictures side by side: u8 [240, 960, 3]."""
    pictures = env.scene.render()
    return np.concatenate([pictures[camera] for camera in ("head_camera", "left_camera", "right_camera")], axis=1)

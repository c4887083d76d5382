"""The scripted experts at work: `python -m envs --list`, `python -m envs TASK --episodes 50 --seed 0`."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import envs
from envs.errors import UserError, exit_cleanly
from envs.tabletop.tasks import task_names

SETTINGS = ("clean", "randomized")
FRAMES_PER_SECOND = 17  # control steps per second
VIDEO_SUFFIXES = (".mp4", ".mkv", ".gif")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m envs", description="Runs a task's scripted expert.")
    parser.add_argument("task", nargs="?", help="RoboTwin's task name")
    parser.add_argument("--list", action="store_true", help="list all tasks and stop")
    parser.add_argument("--episodes", type=int, default=10, help="number of episodes, on consecutive seeds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode")
    parser.add_argument("--setting", choices=SETTINGS, default="clean")
    parser.add_argument("--video", type=Path, help="writes a video here: head and wrist cameras side by side")
    parser.add_argument("--json", type=Path, help="writes the result here")
    return parser.parse_args()


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


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Writes a JSON file in one step, so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(path)


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
        task, setting, episodes, successes, success_rate, seconds_per_episode and mean_steps (control steps).
    """
    from envs.tabletop.env import TabletopEnv

    env = TabletopEnv(task, setting=setting)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[successes]} solved"),
        TimeRemainingColumn(),
    )
    successes, steps, writer = 0, 0, None
    start = time.perf_counter()
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
        "episodes": len(seeds),
        "successes": successes,
        "success_rate": successes / len(seeds),
        "seconds_per_episode": (time.perf_counter() - start) / len(seeds),
        "mean_steps": steps / len(seeds),
    }


def run_episode(env: Any, seed: int, writer: Any) -> bool:
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


def frame(env: Any) -> NDArray[np.uint8]:
    """Head and wrist pictures side by side: u8 [240, 960, 3]."""
    pictures = env.world.render()
    return np.concatenate([pictures[camera] for camera in ("head_camera", "left_camera", "right_camera")], axis=1)


def main() -> None:
    """The command."""
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join([*task_names(), *(f"{alias} (= {task})" for alias, task in envs.ALIASES.items())]))
        return
    if arguments.task is None:
        raise UserError("say which task; `python -m envs --list` lists all tasks")
    task = envs.resolve_task(arguments.task)
    if arguments.episodes < 1:
        raise UserError("--episodes must be at least 1")
    if arguments.seed < 0:
        raise UserError("--seed must not be negative")
    if arguments.video is not None and arguments.video.suffix not in VIDEO_SUFFIXES:
        raise UserError(f"--video must end in one of {', '.join(VIDEO_SUFFIXES)}")
    for path in filter(None, (arguments.video, arguments.json)):
        check_output(path)
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    result = run_expert(task, arguments.setting, seeds, arguments.video, Console(stderr=True))
    print(
        f"{task} ({arguments.setting}): {result['successes']} of {result['episodes']} episodes solved, "
        f"{result['seconds_per_episode']:.2f} s and {result['mean_steps']:.0f} control steps per episode"
    )
    if arguments.json is not None:
        write_json(arguments.json, result)


if __name__ == "__main__":
    exit_cleanly(main)

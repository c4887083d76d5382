"""The scripted experts at work: `python -m envs --list`, `python -m envs TASK --episodes 50 --seed 0`.

`python -m envs --report DIR --episodes 50` runs all of them and draws a sheet of pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

import envs
from envs.constants import SETTINGS
from envs.errors import UserError, exit_cleanly
from envs.tabletop.tasks import task_names

VIDEO_SUFFIXES = (".mp4", ".mkv", ".gif")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m envs", description="Runs a task's scripted expert.")
    parser.add_argument("task", nargs="?", help="RoboTwin's task name")
    parser.add_argument("--list", action="store_true", help="list all tasks and stop")
    parser.add_argument("--episodes", type=int, default=10, help="number of episodes, on consecutive seeds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode")
    parser.add_argument("--setting", choices=SETTINGS, default="clean")
    parser.add_argument("--video", type=Path, help="writes a video here: the scene, and beside it both wrist cameras")
    parser.add_argument("--report", type=Path, help="runs all tasks, both settings; a table and a sheet of pictures")
    parser.add_argument("--json", type=Path, help="writes the result here")
    return parser.parse_args()


def main() -> None:
    """The command."""
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join([*task_names(), *(f"{alias} (= {task})" for alias, task in envs.ALIASES.items())]))
        return
    if (arguments.task is None) == (arguments.report is None):
        raise UserError("say which task, or --report DIR for all; `python -m envs --list` lists all tasks")
    if arguments.episodes < 1:
        raise UserError("--episodes must be at least 1")
    if arguments.seed < 0:
        raise UserError("--seed must not be negative")
    if arguments.video is not None and arguments.video.suffix not in VIDEO_SUFFIXES:
        raise UserError(f"--video must end in one of {', '.join(VIDEO_SUFFIXES)}")
    task = envs.resolve_task(arguments.task) if arguments.task else ""
    from envs.experts import check_output, run_expert  # SAPIEN takes a second to import
    from envs.files import write_json
    from envs.report import write_report

    for path in filter(None, (arguments.video, arguments.json)):
        check_output(path)
    seeds, console = range(arguments.seed, arguments.seed + arguments.episodes), Console(stderr=True)
    if arguments.report is not None:
        write_report(arguments.report, task_names(), seeds, console)
        return
    result = run_expert(task, arguments.setting, seeds, arguments.video, console)
    failed = ", ".join(map(str, result["failed_seeds"]))
    print(
        f"{task} ({arguments.setting}): {result['successes']} of {result['episodes']} episodes solved, "
        f"{result['seconds_per_episode']:.2f} s and {result['mean_steps']:.0f} control steps per episode"
        + (f"; failed seeds: {failed}" if failed else "")
    )
    if arguments.json is not None:
        write_json(arguments.json, result)


if __name__ == "__main__":
    exit_cleanly(main)

"""All tasks at a glance: a table of the experts' success, and pictures with value maps."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
from rich.console import Console

from envs.constants import ARMS, PLACE, SETTINGS
from envs.contacts import ContactRecorder, Event, to_world
from envs.errors import UserError
from envs.experts import RESULT_KEYS, check_output, run_expert
from envs.files import atomic_file, write_json
from envs.pictures import GLOW, PAPER, Image, draw_glow, legend, text_bar
from envs.tabletop.env import TabletopEnv
from envs.value_map import draw_region, fill_region

GOALS = {"clean": 0.95, "randomized": 0.9}  # success rate that every expert should reach
THUMBNAIL = (120, 160)  # px
GAP, LINE = 8, 2  # px, between two tasks, and between two pictures
ACROSS, GRID_ACROSS = 2, 10  # tasks side by side


def write_report(folder: Path, tasks: Sequence[str], seeds: range, console: Console) -> None:
    """Writes `tasks.md`, `tasks.png` and `tasks_grid.png`, and per task the results and pictures they are made of.

    The sheet has four pictures per task, the grid one: that with the value map.

    Results and pictures of the same seeds that exist already are kept, so a report that was stopped goes on.

    Raises:
        UserError: the folder cannot be written, or a result in it cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose a writable folder") from error
    check_output(folder / "tasks.md")
    pictures = [_pictures(folder, task, seeds.start, console) for task in tasks]
    results = [[_result(folder, task, setting, seeds, console) for setting in SETTINGS] for task in tasks]
    (folder / "tasks.md").write_text(table(results))
    iio.imwrite(folder / "tasks.png", sheet(tasks, pictures))
    iio.imwrite(folder / "tasks_grid.png", _rows([each[:, -THUMBNAIL[1] - LINE :] for each in pictures], GRID_ACROSS))
    console.print(f"{folder / 'tasks.md'}, tasks.png and tasks_grid.png are written")


def _result(folder: Path, task: str, setting: str, seeds: range, console: Console) -> dict[str, Any]:
    path = folder / f"{task}-{setting}.json"
    if path.exists():
        try:
            result = json.loads(path.read_text())
            asked = {"task": task, "setting": setting, "seed": seeds.start, "episodes": len(seeds)}
            if all(result[key] == value for key, value in asked.items()) and set(result) >= RESULT_KEYS:
                return result
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is no result of `python -m envs`; move it away") from error
    result = run_expert(task, setting, seeds, console=console)
    write_json(path, result)
    return result


def _pictures(folder: Path, task: str, seed: int, console: Console) -> Image:
    path = folder / f"{task}-{seed}-strip.png"
    if not path.exists():
        console.print(f"{task}: pictures")
        with atomic_file(path) as aside:
            iio.imwrite(aside, episode_pictures(task, seed))
    return np.asarray(iio.imread(path), np.uint8)


def table(results: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Markdown with one row per task, and which tasks fall short of `GOALS`.

    Args:
        results: of `run_expert`, per task [clean, randomized].
    """
    first = results[0][0]
    lines = [
        f"`python -m envs --report DIR --episodes {first['episodes']} --seed {first['seed']}`",
        "",
        f"How many of {first['episodes']} episodes the scripted expert solves, clean and randomized, its mean number",
        "of control steps (both settings, failures included), and processor seconds per episode without rendering.",
        "",
        "| task | clean | randomized | steps | s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    short = []
    for row in results:
        solved = [str(one["successes"]) for one in row]
        steps, seconds = (statistics.mean(one[key] for one in row) for key in ("mean_steps", "seconds_per_episode"))
        lines.append(f"| {row[0]['task']} | {' | '.join(solved)} | {steps:.0f} | {seconds:.2f} |")
        if any(one["success_rate"] < GOALS[one["setting"]] for one in row):
            short.append(row[0]["task"])
    goals = " or ".join(f"{share:.0%} {setting}" for setting, share in GOALS.items())
    lines += ["", f"Short of {goals}: {', '.join(short) or 'none'}.", ""]
    lines += [
        f"Seed {first['seed']} of each task, clean: start, middle, end, and the value map at the middle, where the"
    ]
    lines += ["left arm (orange) or the right one (blue) will next touch, place or press something.", ""]
    return "\n".join([*lines, "![All tasks](tasks.png)", ""])


def episode_pictures(task: str, seed: int) -> Image:
    """An expert's episode, clean: u8 [122, 648, 3], its start, middle and end, and the value map at its middle.

    If the last event comes before the middle, it is shown instead: a value map needs a next event.
    """
    env = TabletopEnv(task, head_size=(8, 8), wrist_size=(8, 8))
    env.restart(seed)
    recorder = ContactRecorder(env.scene)
    recorder.record()
    solved = False
    while not solved and env.steps < env.step_limit:
        solved = env.control(env.expert_action())
        recorder.record()
    events, end = recorder.events(), env.steps
    middle = min(end // 2, events[-1].frame if events else end)
    env.restart(seed)  # the same episode once more, now that it is known which frames to render
    shown: list[Image] = []
    marked: list[Image] = []
    for step in range(end + 1):
        if step in (0, middle, end):
            shown.append(env.view().picture)
        if step == middle:
            marked = [_with_map(env, events, recorder, middle)]
        env.control(env.expert_action())
    small = [cv2.resize(each, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA) for each in shown + marked]
    padded = [np.pad(each, ((0, LINE), (0, LINE), (0, 0)), constant_values=PAPER) for each in small]
    return np.concatenate(padded, axis=1).astype(np.uint8)


def _with_map(env: TabletopEnv, events: Sequence[Event], recorder: ContactRecorder, frame: int) -> Image:
    """The picture for people with the value map of the next event, in the arm's colour."""
    picture, intrinsic = env.view()
    camera = (intrinsic[None], env.observe()["head_camera_extrinsic"][None], picture.shape[:2], picture.shape[:2])
    maps = np.zeros((len(ARMS), *picture.shape[:2]), np.float32)
    due = min((event.frame for event in events if event.frame >= frame), default=None)
    for event in events:
        if event.frame == due:
            pose = recorder.poses[event.body][frame]
            each = [(point[None], np.ones(1)) for point in event.points]
            regions = [fill_region(np.asarray(event.points))] if event.kind == PLACE else each
            world = [(np.stack([to_world(pose, sample) for sample in samples]), weight) for samples, weight in regions]
            drawn = [draw_region(samples[None], weight, *camera)[0] for samples, weight in world]
            maps[event.arm] = np.maximum(maps[event.arm], np.max(drawn, axis=0))
    return draw_glow(picture, maps)


def sheet(tasks: Sequence[str], pictures: Sequence[Image]) -> Image:
    """The pictures of all tasks, titled, two tasks side by side, with a legend below."""
    blocks = []
    for task, strip in zip(tasks, pictures, strict=True):
        titled = np.concatenate([text_bar(strip.shape[1], task, weight=600), strip])
        blocks.append(np.pad(titled, ((0, GAP), (0, GAP), (0, 0)), constant_values=PAPER))
    rows = _rows(blocks, ACROSS)
    return np.concatenate([rows, legend(rows.shape[1], (GLOW,))])


def _rows(blocks: Sequence[Image], across: int) -> Image:
    blocks = [*blocks, *[np.full_like(blocks[0], PAPER)] * (-len(blocks) % across)]
    return np.concatenate([np.concatenate(blocks[i : i + across], 1) for i in range(0, len(blocks), across)])

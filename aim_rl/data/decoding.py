"""Demonstrations at a preset's sizes, decoded once into arrays on disk (`aim_rl.data.cache`)."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from aim_rl.data import cache
from aim_rl.data.cache import CacheWriter, StoredArray
from aim_rl.data.conventions import doubts
from aim_rl.data.episode import Episode, Header
from aim_rl.data.files import Source, common_fps, files_of, find_episodes, read_episode, read_header
from aim_rl.data.lerobot import LeRobotOptions
from aim_rl.data.value_map import canvas_maps
from aim_rl.model.presets import Preset
from aim_rl.model.text import Tokenize
from aim_rl.model.waypoints import encode_waypoints
from envs.constants import CAMERAS
from envs.errors import UserError

VERSION = 1
"""Of the arrays. Another one for every change of what is stored: images, labels, waypoints, split, words."""

HELD_OUT_EVERY = 20
"""One episode in this many of each task is kept for validation."""

STD_FLOOR = (0.005,) * 3 + (0.02,) * 3 + (0.1,)
"""Smallest standard deviation of a waypoint's numbers, per arm: 5 mm, 0.02 rad, 0.1 of the gripper."""

MAX_ENLARGEMENT = 1.1
"""RoboTwin's 240 rows may be enlarged to the 256 that the preset wan2.2-5b needs."""

JOINTS = ("qpos", "qpos_measured", "left_endpose", "right_endpose")
OBSERVED = (
    *CAMERAS,
    *(f"{camera}_{matrix}" for matrix in ("intrinsic", "extrinsic") for camera in CAMERAS),
    *JOINTS,
)
"""Fields of an episode that are stored frame by frame."""

_ANY_WORDS = "stack the green block on the red block"
_NAMES = 4  # folders whose names may say the task (`aim_rl.data.robotwin`, `LeRobotDataset.task`)


@dataclass(frozen=True)
class Summary:
    """What was read, and where it is in the arrays. Lists are per episode."""

    failures: int
    fps: float
    tasks: list[str]
    frames: list[int]
    instructions: list[int]
    """How many an episode has."""
    derived_contacts: int
    constant_cameras: int
    doubts: dict[str, int]
    waypoint_mean: list[list[float]]
    waypoint_std: list[list[float]]


def decoded(
    directory: Path, preset: Preset, task: str | None, tokenize: Tokenize, lerobot: LeRobotOptions
) -> tuple[dict[str, StoredArray], Summary]:
    """The arrays of a dataset, decoded now if no cache holds them.

    They are those of the cache as long as the files are the same (by name, size and time of change), the version, the
    preset's sizes, the words' numbers and the LeRobot options.

    Returns:
        The arrays, and what was read. Per frame, over all episodes: `OBSERVED` as in
        `Episode`, at the preset's sizes; `waypoints` f32 [n, n_waypoints, 14]; `maps` u8 [n, 2, h, w], both arms' value
        maps on the prediction canvas. `train` and `validation`, int64, numbers of frames. `text`, int64
        [instructions, L].

    Raises:
        UserError: as `DemonstrationSet`.
    """
    sources = find_episodes(directory, lerobot)
    sizes = [preset.head_size, preset.wrist_size, preset.shrink, preset.horizon, preset.stride]
    name = cache.digest([sizes, tokenize(_ANY_WORDS).tolist(), dataclasses.asdict(lerobot)])
    content = cache.digest([VERSION, _identity(directory, sources)])
    places = cache.places(directory, name)
    found = cache.find(places, content)
    if found is None:
        headers = [read_header(source) for source in sources]
        fps = common_fps(directory, [header for header in headers if header.success])
        check_tasks(directory, [header.task for header in headers if header.success], task)
        found = cache.written(
            places, content, lambda writer: _decode(directory, sources, headers, fps, preset, tokenize, writer)
        )
    arrays, summary = found[0], Summary(**found[1])
    check_tasks(directory, summary.tasks, task)
    return arrays, summary


def _identity(directory: Path, sources: Sequence[Source]) -> list[Any]:
    """What the episodes are read from, without reading it. A copy elsewhere is the same if it keeps times of change."""
    files = ((path, path.stat()) for path in files_of(sources))
    found = [(os.path.relpath(path, directory), stat.st_size, stat.st_mtime_ns) for path, stat in files]
    return [os.path.abspath(directory).split(os.sep)[-_NAMES:], found]


def _decode(
    directory: Path,
    sources: Sequence[Source],
    headers: Sequence[Header],
    fps: float,
    preset: Preset,
    tokenize: Tokenize,
    writer: CacheWriter,
) -> dict[str, Any]:
    """Decodes the episodes that succeeded, one after another; returns the `Summary` as a dictionary."""
    kept = [(source, header) for source, header in zip(sources, headers, strict=True) if header.success]
    tasks, frames = [header.task for _, header in kept], [header.frames for _, header in kept]
    starts, instructions, counts = np.cumsum([0, *frames]), [], Counter[str]()
    doubtful, split = Counter[str](), Counter[str]()
    shown = track(kept, "Decoding", disable=not sys.stdout.isatty())
    for start, held_out, (source, _) in zip(starts[:-1], _held_out(tasks), shown, strict=True):
        episode = resize_episode(read_episode(source), preset.head_size, preset.wrist_size)
        rows, usable = _rows(episode, preset)
        rows["text"] = np.stack([tokenize(text).numpy() for text in episode.instructions])
        if start == 0:
            per_frame = sum(array.nbytes for array in rows.values()) / len(episode)
            writer.reserve(round(per_frame * starts[-1]))
        part = "validation" if held_out else "train"
        rows[part] = start + usable
        split[part] += len(usable)
        if not held_out:
            rows["train_waypoints"] = rows["waypoints"][usable]
        for name, array in rows.items():
            writer.append(name, array)
        instructions.append(len(rows["text"]))
        counts.update(contacts=not episode.contacts_recorded, cameras=not episode.cameras_recorded)
        doubtful.update(doubts(episode))
    if not split["train"] or not split["validation"]:
        raise UserError(f"{directory} holds too few unperturbed chunks; record more episodes into it.")
    waypoints = writer.take("train_waypoints")
    return dataclasses.asdict(
        Summary(
            failures=len(sources) - len(kept),
            fps=fps,
            tasks=tasks,
            frames=frames,
            instructions=instructions,
            derived_contacts=counts["contacts"],
            constant_cameras=counts["cameras"],
            doubts=dict(doubtful),
            waypoint_mean=waypoints.mean(0).tolist(),
            waypoint_std=waypoints.std(0).maximum(torch.tensor(STD_FLOOR * 2)).tolist(),
        )
    )


def _rows(episode: Episode, preset: Preset) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The stored arrays of an episode, frame by frame, and the frames [n] whose chunks may be imitated."""
    times, last = np.arange(len(episode)), len(episode) - 1
    chunk = np.minimum(times[:, None] + np.arange(preset.horizon), last)
    targets = torch.from_numpy(episode.action[chunk])
    # Without the third channel, which is the max of these two.
    maps = canvas_maps(episode, times, preset.head_tile, preset.wrist_tile)[:, :2]
    rows = {name: getattr(episode, name).astype(np.uint8 if name in CAMERAS else np.float32) for name in OBSERVED}
    rows["waypoints"] = encode_waypoints(torch.from_numpy(episode.qpos), targets, preset.stride).numpy()
    rows["maps"] = (255 * maps + 0.5).astype(np.uint8)
    return rows, np.flatnonzero(~episode.perturbed[chunk].any(1))


def check_tasks(directory: str | Path, tasks: list[str], wanted: str | None) -> None:
    """Raises UserError unless the episodes, given the task of each, are of `wanted` and two or more of each task."""
    if wanted is not None and set(tasks) != {wanted}:
        raise UserError(
            f"{directory} holds demonstrations of {', '.join(sorted(set(tasks)))}, not only of {wanted}; give the "
            "folder of one task, or train on all of them with --task all."
        )
    for task, episodes in Counter(tasks).items():
        if episodes < 2:
            raise UserError(f"{directory} holds one episode of {task}; record at least two, one is for validation.")


def _held_out(tasks: list[str]) -> Tensor:
    """Which episodes are kept for validation, bool [episodes], given the task of each.

    One in `HELD_OUT_EVERY` of every task, or the last one if there are fewer.
    """
    total, seen = Counter(tasks), Counter[str]()
    kept = []
    for task in tasks:
        kept.append(seen[task] % HELD_OUT_EVERY == min(HELD_OUT_EVERY, total[task]) - 1)
        seen[task] += 1
    return torch.tensor(kept)


def resize_episode(episode: Episode, head_size: tuple[int, int], wrist_size: tuple[int, int]) -> Episode:
    """The episode at other image sizes (H, W): cropped to the aspect about the centre, area-resized.

    The intrinsics follow; extrinsics stay.

    Raises:
        UserError: a camera was recorded smaller than asked for, by more than `MAX_ENLARGEMENT` can fix.
    """
    changes = {}
    for camera in CAMERAS:
        size = head_size if camera == "head_camera" else wrist_size
        images, intrinsic = getattr(episode, camera), getattr(episode, f"{camera}_intrinsic")
        if images.shape[1:3] != size:
            changes[camera], changes[f"{camera}_intrinsic"] = crop_and_resize(images, intrinsic, size)
    return dataclasses.replace(episode, **changes)


def crop_and_resize(images: np.ndarray, intrinsic: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Images u8 [T, H, W, 3] at size (h, w): cropped to its aspect about the centre, area-resized; intrinsics [T, 3, 3]
    in px follow.

    Raises:
        UserError: they are smaller, by more than `MAX_ENLARGEMENT` can fix.
    """
    (height, width), (h, w) = images.shape[1:3], size
    scale = min(height / h, width / w)
    if scale * MAX_ENLARGEMENT < 1:
        raise UserError(
            f"The images are of {width} x {height} px and the model needs {w} x {h}; record them that large or larger."
        )
    crop_h, crop_w = round(h * scale), round(w * scale)
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    crop = images[:, top : top + crop_h, left : left + crop_w]
    how = cv2.INTER_AREA if scale >= 1 else cv2.INTER_LINEAR
    resized = np.stack([cv2.resize(image, (w, h), interpolation=how) for image in crop])
    # Pixel edges, not centres, sit at whole numbers: a crop shifts and a resize scales, nothing else.
    to_crop = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    to_size = np.diag([w / crop_w, h / crop_h, 1.0])
    return resized, (to_size @ to_crop @ intrinsic).astype(np.float32)

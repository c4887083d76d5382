"""Demonstrations in memory, and batches of them for Stage I."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from aim_rl.data.conventions import doubts
from aim_rl.data.episode import FPS, Episode
from aim_rl.data.files import common_fps, find_episodes, read_episode, read_header
from aim_rl.data.lerobot import DEFAULT_OPTIONS, LeRobotOptions
from aim_rl.data.value_map import canvas_maps
from aim_rl.model.presets import Preset
from aim_rl.model.text import Tokenize, word_tokenizer
from aim_rl.model.waypoints import encode_waypoints
from envs.constants import CAMERAS
from envs.errors import UserError

HELD_OUT_EVERY = 20
"""One episode in this many of each task is kept for validation."""

STD_FLOOR = (0.005,) * 3 + (0.02,) * 3 + (0.1,)
"""Smallest standard deviation of a waypoint's numbers, per arm: 5 mm, 0.02 rad, 0.1 of the gripper."""

MAX_ENLARGEMENT = 1.1
"""RoboTwin's 240 rows may be enlarged to the 256 that the preset wan2.2-5b needs."""

_JOINTS = ("qpos", "qpos_measured", "left_endpose", "right_endpose")


class DemonstrationSet:
    """All episodes of a dataset directory at a preset's sizes; every frame is the start of one chunk.

    Frames are numbered across episodes. A chunk that reaches beyond the end of its episode repeats the last command and
    the last frame. Chunks with a perturbed command (`Episode.perturbed`) are in neither split.

    Attributes:
        episodes: number of episodes.
        derived_contacts: number of episodes whose contacts were derived from the grippers.
        constant_cameras: number of episodes whose camera matrices are the robot's constants.
        failures: number of episodes left out because they are marked as failed.
        fps: frames per second.
        doubts: sentence of `aim_rl.data.conventions` -> number of episodes it is true of.
        frames: number of frames in all.
        tasks: names of the tasks that were recorded.
        train: int64 [n], frames of the episodes to train on.
        validation: int64 [m], frames of the held-out episodes.
        waypoint_mean, waypoint_std: f32 [n_waypoints, 14], over the training frames; the std is floored (`STD_FLOOR`).
    """

    def __init__(
        self,
        directory: str | Path,
        preset: Preset,
        task: str | None = None,
        tokenize: Tokenize | None = None,
        lerobot: LeRobotOptions = DEFAULT_OPTIONS,
    ) -> None:
        """Read the episodes of `directory` once.

        Args:
            directory: holds episodes in any format (`aim_rl.data.files.find_episodes`).
            preset: image sizes and chunk length.
            task: if given, the one task that the episodes must be of.
            tokenize: the instructions' word pieces; None: the preset's hashed words.
            lerobot: how to read LeRobot datasets.

        Raises:
            UserError: no episodes, only one of a task, one of another task, of several frame rates, a broken file,
                images smaller than the preset's, or no unperturbed chunk to train on or to validate with.
        """
        found = [(source, read_header(source)) for source in find_episodes(directory, lerobot)]
        sources = [source for source, header in found if header.success]
        headers = [header for _, header in found if header.success]
        self.failures, self.fps = len(found) - len(sources), common_fps(directory, headers)
        tasks = [header.task for header in headers]
        _check_tasks(directory, tasks, task)
        tokenize = tokenize or word_tokenizer(preset)
        self.preset = preset
        self.episodes, self.frames = len(sources), sum(header.frames for header in headers)
        self.tasks, self.derived_contacts, self.constant_cameras, self.doubts = set(tasks), 0, 0, Counter[str]()
        starts = np.cumsum([0, *(header.frames for header in headers)])
        self._first_frame = torch.from_numpy(starts[:-1])
        self._allocate()
        texts: list[Tensor] = []
        for number, source in enumerate(sources):
            episode = resize_episode(read_episode(source), preset.head_size, preset.wrist_size)
            self._store(episode, number, slice(starts[number], starts[number + 1]))
            self.derived_contacts += not episode.contacts_recorded
            self.constant_cameras += not episode.cameras_recorded
            self.doubts.update(doubts(episode))
            texts.append(torch.stack([tokenize(text) for text in episode.instructions]))
        self._text = torch.cat(texts)
        self._instructions = torch.tensor([len(each) for each in texts])  # per episode
        self._first_instruction = self._instructions.cumsum(0) - self._instructions
        held_out = _held_out(tasks)[self._episode]
        self.validation = torch.where(held_out & self._clean)[0]
        self.train = torch.where(~held_out & self._clean)[0]
        if not len(self.train) or not len(self.validation):
            raise UserError(f"{directory} holds too few unperturbed chunks; record more episodes into it.")
        self.waypoint_mean = self._arrays["waypoints"][self.train].mean(0)
        floor = torch.tensor(STD_FLOOR * 2)
        self.waypoint_std = self._arrays["waypoints"][self.train].std(0).maximum(floor)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The chunks that start at frames `indices` [B].

        Args:
            indices: int64 [B].
            generator: draws one of the episode's instructions per chunk; None: always the first.

        Returns:
            The observation under the environment's keys: cameras u8 [B, H, W, 3], `<camera>_intrinsic`
            [B, 3, 3], `<camera>_extrinsic` [B, 3, 4], `qpos` and `qpos_measured` [B, 14], endposes [B, 7];
            `text`, word ids int64 [B, L]; and the targets: `future_rgb` and `future_maps` f32 [B, F, 3, h, w]
            in [0, 1] on the prediction canvas, `waypoints` f32 [B, n_waypoints, 14]. For a preset with history, also
            the k decisions before, `execute` frames apart: `past_<camera>` u8 [B, k, H, W, 3], `past_waypoints`
            [B, k, n_past, 14], what was commanded, and `past_happened` bool [B, k].
        """
        batch = {name: array[indices] for name, array in self._arrays.items()}
        episode = self._episode[indices]
        text = self._first_instruction[episode]
        if generator is not None:
            text = text + (torch.rand(len(indices), generator=generator) * self._instructions[episode]).long()
        batch["text"] = self._text[text]
        future = self._future[indices]
        batch["future_rgb"] = self._canvas(future)
        arms = self._maps[future]
        maps = torch.empty(*future.shape, 3, *self.preset.canvas)
        torch.mul(arms, 1 / 255, out=maps[:, :, :2])
        torch.maximum(maps[:, :, 0], maps[:, :, 1], out=maps[:, :, 2])
        batch["future_maps"] = maps
        return batch | self._past(indices)

    def describe(self) -> str:
        """What was read, for the command's output."""
        parts = [
            f"{self.episodes} episodes of {', '.join(sorted(self.tasks))}: contacts recorded in "
            f"{self.episodes - self.derived_contacts}, derived from the grippers in {self.derived_contacts}"
        ]
        if self.constant_cameras:
            parts.append(f"camera matrices computed from the joints of {self.constant_cameras}")
        if self.failures:
            parts.append(f"{self.failures} failed episodes left out")
        if round(self.fps) != FPS:
            parts.append(f"{self.fps:g} frames per second, where a control step here takes 1/{FPS} s")
        return "; ".join(parts)

    def joints(self, indices: Tensor) -> dict[str, Tensor]:
        """Joints and endposes of `batch`, without the images, which take much memory."""
        return {name: self._arrays[name][indices] for name in _JOINTS}

    def _past(self, indices: Tensor) -> dict[str, Tensor]:
        preset = self.preset
        if not preset.history:
            return {}
        before = indices[:, None] - preset.execute * torch.arange(preset.history, 0, -1)
        first = self._first_frame[self._episode[indices]][:, None]
        frames = torch.maximum(before, first)
        past = {f"past_{camera}": self._arrays[camera][frames] for camera in CAMERAS}
        waypoints = self._arrays["waypoints"][frames][:, :, : preset.n_past]
        return past | {"past_waypoints": waypoints, "past_happened": before >= first}

    def _canvas(self, frames: Tensor) -> Tensor:
        """Frames [B, F] -> prediction canvas f32 [B, F, 3, h, w] in [0, 1], as `aim_rl.model.tokenizer.pack`.

        Shrunk as bytes by OpenCV, 20 times faster than pooling floats.
        """
        rows, cols = self.preset.head_tile[0], self.preset.wrist_tile[1]
        canvas = np.empty((frames.numel(), *self.preset.canvas, 3), np.uint8)
        tiles = (canvas[:, :rows], canvas[:, rows:, :cols], canvas[:, rows:, cols:])
        for camera, tile in zip(CAMERAS, tiles, strict=True):
            images, size = self._arrays[camera].numpy(), (tile.shape[2], tile.shape[1])
            for row, frame in enumerate(frames.flatten().tolist()):
                tile[row] = cv2.resize(images[frame], size, interpolation=cv2.INTER_AREA)
        rgb = torch.empty(len(canvas), 3, *self.preset.canvas)
        torch.mul(torch.from_numpy(canvas).movedim(-1, 1), 1 / 255, out=rgb)
        return rgb.unflatten(0, frames.shape)

    def _allocate(self) -> None:
        preset, n = self.preset, self.frames
        self._arrays = {
            "head_camera": torch.empty(n, *preset.head_size, 3, dtype=torch.uint8),
            "left_camera": torch.empty(n, *preset.wrist_size, 3, dtype=torch.uint8),
            "right_camera": torch.empty(n, *preset.wrist_size, 3, dtype=torch.uint8),
            **{f"{camera}_intrinsic": torch.empty(n, 3, 3) for camera in CAMERAS},
            **{f"{camera}_extrinsic": torch.empty(n, 3, 4) for camera in CAMERAS},
            **{name: torch.empty(n, 14 if name.startswith("qpos") else 7) for name in _JOINTS},
            "waypoints": torch.empty(n, preset.n_waypoints, preset.action_dim),
        }
        # Without the third channel, which is the max of these two.
        self._maps = torch.empty(n, 2, *preset.canvas, dtype=torch.uint8)
        self._future = torch.empty(n, preset.frames, dtype=torch.long)
        self._episode = torch.empty(n, dtype=torch.long)
        self._clean = torch.empty(n, dtype=torch.bool)

    def _store(self, episode: Episode, number: int, rows: slice) -> None:
        preset, times, last = self.preset, np.arange(len(episode)), len(episode) - 1
        for name, array in self._arrays.items():
            if name != "waypoints":
                array[rows] = torch.from_numpy(getattr(episode, name))
        chunk = np.minimum(times[:, None] + np.arange(preset.horizon), last)
        targets = torch.from_numpy(episode.action[chunk])
        self._clean[rows] = torch.from_numpy(~episode.perturbed[chunk].any(1))
        self._arrays["waypoints"][rows] = encode_waypoints(torch.from_numpy(episode.qpos), targets, preset.stride)
        maps = canvas_maps(episode, times, preset.head_tile, preset.wrist_tile)[:, :2]
        self._maps[rows] = torch.from_numpy((255 * maps + 0.5).astype(np.uint8))
        apart = preset.horizon // preset.frames
        ahead = np.minimum(times[:, None] + apart * np.arange(1, preset.frames + 1), last)
        self._future[rows] = torch.from_numpy(rows.start + ahead)
        self._episode[rows] = number


def _check_tasks(directory: str | Path, tasks: list[str], wanted: str | None) -> None:
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

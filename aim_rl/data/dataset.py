"""Demonstrations, and batches of them for Stage I."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from aim_rl.data.cache import StoredArray
from aim_rl.data.decoding import JOINTS, OBSERVED, decoded
from aim_rl.data.episode import FPS
from aim_rl.data.lerobot import DEFAULT_OPTIONS, LeRobotOptions
from aim_rl.model.presets import Preset
from aim_rl.model.text import Tokenize, word_tokenizer
from envs.constants import CAMERAS


class DemonstrationSet:
    """All episodes of a dataset directory at a preset's sizes; every frame is the start of one chunk.

    Frames are numbered across episodes. A chunk that reaches beyond the end of its episode repeats the last command and
    the last frame. Chunks with a perturbed command (`Episode.perturbed`) are in neither split. Frames are on disk,
    decoded once (`aim_rl.data.decoding`); the system keeps what is read in memory as long as there is room.

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
        """Reads the episodes of `directory` once; later, and in other processes, opens what was decoded.

        Args:
            directory: holds episodes in any format (`aim_rl.data.files.find_episodes`).
            preset: image sizes and chunk length.
            task: if given, the one task that the episodes must be of.
            tokenize: the instructions' word pieces; None: the preset's hashed words.
            lerobot: how to read LeRobot datasets.

        Raises:
            UserError: no episodes, only one of a task, one of another task, of several frame rates, a broken file,
                images smaller than the preset's, no unperturbed chunk to train on or to validate with, or no room on
                the disk.
        """
        stored, read = decoded(Path(directory), preset, task, tokenize or word_tokenizer(preset), lerobot)
        self.preset = preset
        self._images: dict[str, StoredArray | Tensor] = {name: stored.pop(name) for name in (*CAMERAS, "maps")}
        self._arrays = {name: array.mapped() for name, array in stored.items()}
        self.train, self.validation = self._arrays["train"], self._arrays["validation"]
        self.tasks, self.episodes, self.frames = set(read.tasks), len(read.tasks), sum(read.frames)
        self.derived_contacts, self.constant_cameras = read.derived_contacts, read.constant_cameras
        self.failures, self.fps, self.doubts = read.failures, read.fps, Counter(read.doubts)
        self.waypoint_mean, self.waypoint_std = torch.tensor(read.waypoint_mean), torch.tensor(read.waypoint_std)
        self._end = torch.tensor(read.frames).cumsum(0)  # per episode, the frame after its last one
        self._first_frame = self._end - torch.tensor(read.frames)
        self._instructions = torch.tensor(read.instructions)
        self._first_instruction = self._instructions.cumsum(0) - self._instructions

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
        return unpack(self.packed(indices, generator))

    def packed(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """As `batch`, a quarter as large: `future_rgb` u8 [B, F, 3, h, w] and `future_maps` u8 [B, F, 2, h, w], without
        the third channel; `unpack` makes the batch of it.
        """
        arrays = self._images | self._arrays
        batch = {name: arrays[name][indices] for name in (*OBSERVED, "waypoints")}
        episode = torch.searchsorted(self._end, indices.contiguous(), right=True)
        text = self._first_instruction[episode]
        if generator is not None:
            text = text + (torch.rand(len(indices), generator=generator) * self._instructions[episode]).long()
        batch["text"] = self._arrays["text"][text]
        apart = self.preset.horizon // self.preset.frames
        ahead = indices[:, None] + apart * torch.arange(1, self.preset.frames + 1)
        future = torch.minimum(ahead, self._end[episode][:, None] - 1)
        batch |= {"future_rgb": self._canvas(future), "future_maps": self._images["maps"][future]}
        return batch | self._past(indices, self._first_frame[episode])

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
        return {name: self._arrays[name][indices] for name in JOINTS}

    def _past(self, indices: Tensor, first: Tensor) -> dict[str, Tensor]:
        """What `batch` says of decisions before; `first` [B]: first frames of the episodes."""
        preset = self.preset
        if not preset.history:
            return {}
        before = indices[:, None] - preset.execute * torch.arange(preset.history, 0, -1)
        frames = torch.maximum(before, first[:, None])
        past = {f"past_{camera}": self._images[camera][frames] for camera in CAMERAS}
        waypoints = self._arrays["waypoints"][frames][:, :, : preset.n_past]
        return past | {"past_waypoints": waypoints, "past_happened": before >= first[:, None]}

    def _canvas(self, frames: Tensor) -> Tensor:
        """Frames [B, F] -> prediction canvas u8 [B, F, 3, h, w], as `aim_rl.model.tokenizer.pack`.

        Shrunk as bytes by OpenCV, 20 times faster than pooling floats.
        """
        rows, cols = self.preset.head_tile[0], self.preset.wrist_tile[1]
        canvas = np.empty((frames.numel(), *self.preset.canvas, 3), np.uint8)
        tiles = (canvas[:, :rows], canvas[:, rows:, :cols], canvas[:, rows:, cols:])
        for camera, tile in zip(CAMERAS, tiles, strict=True):
            images, size = self._images[camera][frames.flatten()].numpy(), (tile.shape[2], tile.shape[1])
            for row, image in enumerate(images):
                tile[row] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return torch.from_numpy(canvas).movedim(-1, 1).contiguous().unflatten(0, frames.shape)


def unpack(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`DemonstrationSet.batch` of `packed`: f32 in [0, 1], and a third channel of the maps, the max of both arms."""
    maps = batch["future_maps"] * (1 / 255)
    maps = torch.cat([maps, maps.amax(-3, keepdim=True)], -3)
    return {**batch, "future_rgb": batch["future_rgb"] * (1 / 255), "future_maps": maps}

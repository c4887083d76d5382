"""Batches from disk, prepared ahead, are those drawn from arrays in memory, and so are the draws after them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.decoding import STD_FLOOR
from aim_rl.data.files import episode_path, find_episodes, read_episode, write_episode
from aim_rl.data.value_map import canvas_maps
from aim_rl.model import PRESETS, Preset
from aim_rl.model.text import tokenize
from aim_rl.model.waypoints import encode_waypoints
from aim_rl.rollout import shared_memory
from aim_rl.rollout.seeds import torch_seed
from aim_rl.runs.processes import ALONE, Processes
from aim_rl.supervised.batches import micro_batches
from aim_rl.supervised.config import PretrainConfig
from envs.constants import CAMERAS
from envs.errors import UserError

from ..data.conftest import episode_of

TINY = PRESETS["tiny"]
LENGTHS = (24, 31, 26)  # the last episode is held out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    for number, frames in enumerate(LENGTHS):
        episode = episode_of(frames, (48, 64), (32, 32), seed=number)
        episode.perturbed[19] = True
        episode.instructions = ["stack the blocks", "put one on the other", "build a tower"][: number + 1]
        write_episode(episode_path(folder, number), episode)
    return folder


class InMemory:
    """What `DemonstrationSet` was before frames were kept on disk: every array whole in memory."""

    def __init__(self, folder: Path, preset: Preset) -> None:
        episodes = [read_episode(source) for source in find_episodes(folder)]
        names = [*CAMERAS, *(f"{camera}_{matrix}" for camera in CAMERAS for matrix in ("intrinsic", "extrinsic"))]
        names += ["qpos", "qpos_measured", "left_endpose", "right_endpose"]
        self.preset = preset
        self.arrays = {name: torch.cat([torch.from_numpy(getattr(e, name)) for e in episodes]) for name in names}
        chunks = [np.minimum(np.arange(len(e))[:, None] + np.arange(preset.horizon), len(e) - 1) for e in episodes]
        targets = torch.cat([torch.from_numpy(e.action[chunk]) for e, chunk in zip(episodes, chunks, strict=True)])
        self.arrays["waypoints"] = encode_waypoints(self.arrays["qpos"], targets, preset.stride)
        clean = [~e.perturbed[chunk].any(1) for e, chunk in zip(episodes, chunks, strict=True)]
        self.train = torch.from_numpy(np.flatnonzero(np.concatenate([*clean[:-1], np.zeros_like(clean[-1])])))
        maps = [canvas_maps(e, np.arange(len(e)), preset.head_tile, preset.wrist_tile) for e in episodes]
        self.maps = torch.from_numpy((255 * np.concatenate(maps)[:, :2] + 0.5).astype(np.uint8))
        self.first = [sum(LENGTHS[:number]) for number in range(len(LENGTHS))]
        self.texts = [torch.stack([tokenize(text, preset) for text in e.instructions]) for e in episodes]

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        preset, batch = self.preset, {name: array[indices] for name, array in self.arrays.items()}
        episodes = [sum(index >= first for first in self.first) - 1 for index in indices.tolist()]
        counts = torch.tensor([len(self.texts[episode]) for episode in episodes])
        text = (torch.rand(len(indices)) * counts).long().tolist()
        batch["text"] = torch.stack([self.texts[e][t] for e, t in zip(episodes, text, strict=True)])
        last = torch.tensor([self.first[e] + LENGTHS[e] - 1 for e in episodes])[:, None]
        apart = preset.horizon // preset.frames
        future = torch.minimum(indices[:, None] + apart * torch.arange(1, preset.frames + 1), last)
        batch["future_rgb"] = torch.stack([torch.stack([self.canvas(f) for f in fs]) for fs in future.tolist()])
        batch["future_maps"] = torch.empty(*future.shape, 3, *preset.canvas)
        torch.mul(self.maps[future], 1 / 255, out=batch["future_maps"][:, :, :2])
        batch["future_maps"][:, :, 2] = batch["future_maps"][:, :, :2].amax(2)
        if preset.history:
            before = indices[:, None] - preset.execute * torch.arange(preset.history, 0, -1)
            first = torch.tensor([self.first[e] for e in episodes])[:, None]
            past = torch.maximum(before, first)
            batch |= {f"past_{camera}": self.arrays[camera][past] for camera in CAMERAS}
            batch["past_waypoints"] = self.arrays["waypoints"][past][:, :, : preset.n_past]
            batch["past_happened"] = before >= first
        return batch

    def canvas(self, frame: int) -> Tensor:
        shrink = self.preset.shrink
        head, left, right = (
            cv2.resize(image, (image.shape[1] // shrink, image.shape[0] // shrink), interpolation=cv2.INTER_AREA)
            for image in (self.arrays[camera][frame].numpy() for camera in CAMERAS)
        )
        canvas = np.concatenate([head, np.concatenate([left, right], 1)])
        return torch.mul(torch.from_numpy(canvas).movedim(-1, 0), 1 / 255)


def recipe(**changes: Any) -> PretrainConfig:
    return PretrainConfig(
        task="stack_blocks_two", data=Path(), preset="tiny", **{"batch_size": 6, "steps": 4} | changes
    )


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("history", [0, 2])
def test_batches_and_the_draws_after_them_are_those_of_arrays_in_memory(
    folder: Path, workers: int, history: int
) -> None:
    preset = replace(TINY, history=history)
    data, before = DemonstrationSet(folder, preset), InMemory(folder, preset)
    for number, batch in enumerate(micro_batches(data, recipe(workers=workers, seed=7), ALONE)):
        drawn = torch.rand(3)
        torch.manual_seed(torch_seed(1 + number, apart=7))
        expected = before.batch(before.train[torch.randint(len(before.train), (6,))])
        same(batch, expected)
        assert torch.equal(drawn, torch.rand(3))
    assert number == 3
    waypoints = before.arrays["waypoints"][before.train]
    assert torch.equal(data.waypoint_mean, waypoints.mean(0))
    assert torch.equal(data.waypoint_std, waypoints.std(0).maximum(torch.tensor(STD_FLOOR * 2)))


def test_a_step_is_the_same_from_wherever_and_on_however_many_processes(folder: Path) -> None:
    data, config = DemonstrationSet(folder, TINY), recipe(workers=1, micro_batch=2)
    whole = list(micro_batches(data, config, ALONE))
    assert len(whole) == 4 * 3
    for found, expected in zip(micro_batches(data, config, ALONE, first=2), whole[6:], strict=True):
        same(found, expected)
    three = [micro_batches(data, config, Processes(rank, 3, torch.device("cpu"))) for rank in range(3)]
    for found, expected in zip(itertools.chain(*zip(*three, strict=True)), whole, strict=True):
        same(found, expected)


def test_shared_memory_without_room_for_the_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DemonstrationSet(folder, TINY)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: shared_memory.shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(UserError, match=r"MiB of batches, .* 0 MiB free; give --workers 0, start the container"):
        next(micro_batches(data, recipe(workers=1), ALONE))
    next(micro_batches(data, recipe(workers=0), ALONE))

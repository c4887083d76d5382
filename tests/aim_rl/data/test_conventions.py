"""What a file says about itself is read; what it does not say is checked by its numbers or refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch

from aim_rl.data import conventions
from aim_rl.data.conventions import doubts
from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.episode import Episode
from aim_rl.data.files import episode_path, episode_paths, find_episodes, read_episode, read_header, write_episode
from aim_rl.model.presets import PRESETS
from aim_rl.model.waypoints import matrix_to_quaternion
from envs.errors import UserError
from envs.tabletop.kinematics import endpose

from .test_robotwin import PIXEL, RED, Write, layouts, write_legacy, write_main

FIELDS = {"state": "vision/cam_head/colors", "joint_action": "observation/head_camera/rgb"}


def mark(path: Path, frames: slice, comment: bytes = b"XPL-RGB1", before: bytes = b"") -> None:
    """Replaces head images by the standard JPEG of the same picture, with a comment segment, as XPolicyLab writes."""
    with h5py.File(path, "r+") as file:
        field = next(name for group, name in FIELDS.items() if group in file)
        jpegs = [bytes(jpeg) for jpeg in file[field][()]]
        for frame in range(*frames.indices(len(jpegs))):
            rgb: Any = cv2.imdecode(np.frombuffer(jpegs[frame], np.uint8), cv2.IMREAD_COLOR)
            data = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()
            segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            end = 4 + int.from_bytes(data[4:6], "big")  # of APP0
            jpegs[frame] = data[:end] + before + segment + data[end:]
        del file[field]
        file[field] = np.array(jpegs, f"S{max(map(len, jpegs))}")


@layouts
@pytest.mark.parametrize("frames", [slice(None), slice(0, 13, 2)])
def test_red_stays_red_in_marked_and_unmarked_images_of_one_file(write: Write, frames: slice, tmp_path: Path) -> None:
    path = write(tmp_path)
    mark(path, frames)
    episode = read_episode(path)
    u, v = PIXEL
    assert np.abs(episode.head_camera[:, v, u].astype(int) - RED).max() <= 10
    assert np.abs(episode.left_camera[:, v, u].astype(int) - RED).max() <= 10  # not marked


def test_only_the_mark_itself_counts(tmp_path: Path) -> None:
    """Another comment is no mark, and a mark may follow other segments."""
    other, behind = write_main(tmp_path, 0), write_main(tmp_path, 1)
    mark(other, slice(None), b"made by XPL-RGB1")
    mark(behind, slice(None), before=b"\xff\xfe\x00\x05abc")
    blue, red = (read_episode(path).head_camera[0, PIXEL[1], PIXEL[0]].astype(int) for path in (other, behind))
    assert np.abs(blue - RED[::-1]).max() <= 10 and np.abs(red - RED).max() <= 10


def test_a_file_that_another_process_writes_is_not_called_damaged(tmp_path: Path) -> None:
    path = write_main(tmp_path)
    hold = f"import h5py, sys; f = h5py.File({str(path)!r}, 'a'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        for read in (read_episode, read_header):
            with pytest.raises(UserError, match="is open in another process that writes it; wait"):
                read(path)
    finally:
        writer.communicate()
    read_episode(path)


def test_the_systems_reason_stays_in_the_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "folder.hdf5"
    folder.mkdir()
    with pytest.raises(UserError, match=r"folder\.hdf5 cannot be read: EISDIR, Is a directory"):
        read_episode(folder)
    path = write_main(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"truncated or not an HDF5 episode \(.*truncated file.*\); record or copy"):
        read_episode(path)


def test_the_file_that_cannot_be_read_is_named(
    tmp_path: Path, closed: Callable[..., AbstractContextManager[None]]
) -> None:
    path = write_legacy(tmp_path)
    texts = tmp_path / "stack_blocks_two" / "demo_clean" / "instructions" / "episode0.json"
    with closed(texts), pytest.raises(UserError, match=r"instructions/episode0\.json cannot be read: EACCES"):
        read_episode(path)


def test_folders_that_may_not_be_read_are_not_passed_over(
    tmp_path: Path, closed: Callable[..., AbstractContextManager[None]]
) -> None:
    one, other = write_main(tmp_path), write_main(tmp_path, task="click_bell")
    for find in (episode_paths, find_episodes):
        with closed(other.parent), pytest.warns(UserWarning, match=r"click_bell.*cannot be read.*are left out"):
            assert find(tmp_path) == [one]
        with closed(one.parent, other.parent.parent), pytest.raises(UserError, match=r"cannot be read: permission"):
            find(tmp_path)
    assert episode_paths(tmp_path) == [other, one]


def test_a_dataset_that_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a file; give the folder that holds data/episode"):
        episode_paths(write_main(tmp_path))


@layouts
def test_folders_that_name_no_task(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path)
    moved = tmp_path / "home" / "Downloads" / path.parent.parent.name / "data" / path.name
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    for read in (lambda: read_header(moved), lambda: DemonstrationSet(tmp_path, PRESETS["tiny"])):
        with pytest.raises(UserError, match="only its folders name a RoboTwin episode's task, and 'Downloads' is none"):
            read()


@pytest.mark.parametrize("robot", ["arx_x5", "ARX-X5", "piper", "ur5-wsg", "franka-panda+franka-panda_0.6"])
def test_another_robot_with_as_many_joints(robot: str, tmp_path: Path) -> None:
    folder = write_main(tmp_path).parents[1]
    folder.rename(folder.with_name(robot))
    with pytest.raises(UserError, match=f"is of the robot {robot}; only episodes of aloha-agilex".replace("+", r"\+")):
        read_episode(folder.with_name(robot) / "data" / "episode_0000000.hdf5")


@pytest.mark.parametrize("config", ["arx-x5_clean_50", "piper_randomized_500"])
def test_another_robot_in_the_name_of_an_older_configuration(config: str, tmp_path: Path) -> None:
    folder = write_legacy(tmp_path).parents[1]
    read_episode(folder / "data" / "episode0.hdf5")
    folder.rename(folder.with_name(config))
    with pytest.raises(UserError, match=f"is of the robot {config}; only episodes of aloha-agilex"):
        read_episode(folder.with_name(config) / "data" / "episode0.hdf5")


def test_a_later_version_of_the_format(tmp_path: Path) -> None:
    path = write_main(tmp_path)
    with h5py.File(path, "r+") as file:
        file["data_format_version"][()] = "v2.0"
    with pytest.raises(UserError, match=r"data_format_version 2\.0; only version 1"):
        read_episode(path)


def consistent(episode: Episode) -> Episode:
    """With hands where the joints put them, cameras at the hands, and open grippers."""
    episode.qpos[0, [6, 13]] = 1.0
    positions, rotations = endpose(torch.from_numpy(episode.qpos))
    for arm, side in enumerate(("left", "right")):
        pose = torch.cat([positions[:, arm], matrix_to_quaternion(rotations[:, arm])], -1).numpy()
        extrinsic = np.tile(np.eye(3, 4, dtype=np.float32), (len(episode), 1, 1))
        extrinsic[:, :, 3] = -pose[:, :3]
        setattr(episode, f"{side}_endpose", pose)
        setattr(episode, f"{side}_camera_extrinsic", extrinsic)
    return episode


def degrees(episode: Episode) -> None:
    episode.qpos = np.rad2deg(episode.qpos + 0.3).astype(np.float32)


def xyzw(episode: Episode) -> None:
    for side in ("left", "right"):
        pose = getattr(episode, f"{side}_endpose")
        pose[:, 3:] = np.roll(pose[:, 3:], -1, axis=1)


def camera_to_world(episode: Episode) -> None:
    for side in ("left", "right"):
        getattr(episode, f"{side}_camera_extrinsic")[:, :, 3] *= -1


def polarity(episode: Episode) -> None:
    episode.qpos[:, [6, 13]] = 1 - episode.qpos[:, [6, 13]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (degrees, conventions.POSITION),
        (xyzw, conventions.ROTATION),
        (camera_to_world, conventions.CAMERA),
        (polarity, conventions.GRIPPER),
    ],
)
def test_numbers_that_contradict_a_convention(
    change: Callable[[Episode], None], sentence: str, make_episode: Callable[..., Episode], tmp_path: Path
) -> None:
    episode = consistent(make_episode(24, (48, 64), (32, 32)))
    assert doubts(episode) == []
    change(episode)
    assert sentence in doubts(episode)
    episode.qpos[:, [6, 13]] = np.clip(episode.qpos[:, [6, 13]], 0, 1)
    for index in range(2):
        write_episode(episode_path(tmp_path, index), episode)
    assert DemonstrationSet(tmp_path, PRESETS["tiny"]).doubts[sentence] == 2

"""Episodes on disk: the round trip, the names RoboTwin's readers look for, and files that are broken."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from aim_rl.data.episode import Episode
from aim_rl.data.files import episode_path, episode_paths, read_episode, read_header, write_episode
from envs.constants import CAMERAS
from envs.errors import UserError

Make = Callable[..., Episode]


def opened(path: Path, mode: str = "r") -> Any:
    """An HDF5 file, untyped: h5py's types cannot tell a group from a data set."""
    return h5py.File(path, mode)


@pytest.fixture
def written(tmp_path: Path, make_episode: Make) -> Path:
    path = episode_path(tmp_path, 3)
    episode = make_episode()
    episode.perturbed[4:7] = True
    write_episode(path, episode)
    return path


def test_round_trip(written: Path, make_episode: Make) -> None:
    original, read = make_episode(), read_episode(written)
    for name in ("qpos", "qpos_measured", "action", "left_endpose", "right_endpose"):
        np.testing.assert_array_equal(getattr(read, name), getattr(original, name))
    assert np.flatnonzero(read.perturbed).tolist() == [4, 5, 6]
    for camera in CAMERAS:
        # JPEG loses little on flat colours; red and blue swapped would differ by up to 255.
        difference = getattr(read, camera).astype(int) - getattr(original, camera)
        assert np.abs(difference).max() <= 8
        np.testing.assert_array_equal(getattr(read, f"{camera}_intrinsic"), getattr(original, f"{camera}_intrinsic"))
        np.testing.assert_allclose(read.head_camera_extrinsic, original.head_camera_extrinsic, atol=1e-6)
    for name, value in vars(original.contacts).items():
        np.testing.assert_array_equal(getattr(read.contacts, name), value)
    assert (read.instructions, read.task, read.setting, read.seed, read.success) == (
        ["stack the blocks 0"],
        "stack_blocks_two",
        "clean",
        0,
        True,
    )


def test_a_rollout_that_failed_and_has_no_contacts_says_so(tmp_path: Path, make_episode: Make) -> None:
    episode = make_episode()
    episode.success = episode.contacts_recorded = False
    write_episode(tmp_path / "rollout.hdf5", episode)
    header, read = read_header(tmp_path / "rollout.hdf5"), read_episode(tmp_path / "rollout.hdf5")
    assert (header.success, header.contacts_recorded) == (read.success, read.contacts_recorded) == (False, False)
    assert read.contacts.body_poses.shape[1:] == (len(episode), 7)


def test_robotwins_readers_find_their_fields(written: Path, make_episode: Make) -> None:
    original = make_episode()
    assert written.name == "episode_0000003.hdf5" and written.parent.name == "data"
    with opened(written) as file:
        assert file["state/left_arm_joint_states"].shape == (24, 6)
        assert file["state/right_ee_joint_states"].shape == (24, 1)
        np.testing.assert_array_equal(file["action/right_arm_joint_states"], original.action[:, 7:13])
        np.testing.assert_array_equal(
            file["action/left_arm_joint_states"][:-1], file["state/left_arm_joint_states"][1:]
        )
        assert file["state/left_ee_poses"].shape == file["action/left_ee_poses"].shape == (24, 7)
        assert json.loads(file["instructions"][()]) == ["stack the blocks 0"]
        assert file["additional_info/frequency"][()] == 15 and "data_format_version" in file
        for camera in ("cam_head", "cam_left_wrist", "cam_right_wrist"):
            assert set(file[f"vision/{camera}"]) == {
                "colors",
                "shape",
                "intrinsic_matrix",
                "extrinsics_matrix",
            }
        # RoboTwin's trap: OpenCV decodes straight to RGB.
        rgb: Any = cv2.imdecode(file["vision/cam_head/colors"][5], cv2.IMREAD_COLOR)
        assert np.abs(rgb[0, 0].astype(int) - original.head_camera[5, 0, 0]).max() <= 8


def test_stored_extrinsic_is_the_cameras_pose_in_opengl_axes(written: Path) -> None:
    """Project one point by hand through the stored camera-to-world matrix and through OpenCV's convention."""
    with opened(written) as file:
        pose = file["vision/cam_head/extrinsics_matrix"][0].astype(np.float64)
    np.testing.assert_allclose(pose[:3, 3], [-0.032, -0.45, 1.35], atol=1e-6)  # where the camera stands
    np.testing.assert_allclose(-pose[:3, 2], [0, 0.6, -0.8], atol=1e-6)  # it looks along its own -z
    np.testing.assert_allclose(pose[:3, 0], [1, 0, 0], atol=1e-6)  # its right is the world's +x
    point = np.array([0.1, 0.05, 0.76])
    x, y, z = np.linalg.inv(pose)[:3] @ [*point, 1]
    focal = 48 / np.tan(np.deg2rad(18.5))
    opengl = 64 + focal * x / -z, 48 - focal * y / -z
    read = read_episode(written)
    u, v, w = read.head_camera_intrinsic[0] @ (read.head_camera_extrinsic[0] @ [*point, 1])
    np.testing.assert_allclose(opengl, (u / w, v / w), atol=1e-3)
    assert opengl[0] > 64  # +x of the world is to the right in the head camera


def test_a_dataset_without_episodes_says_how_to_record_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"aim_rl\.collect"):
            episode_paths(directory)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.98])
def test_truncated_file(written: Path, keep: float) -> None:
    data = written.read_bytes()
    written.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(UserError, match=r"episode_0000003\.hdf5"):
        read_episode(written)


@pytest.mark.parametrize("size", [2**64 - 16, 2**64 - 1, 5000])
def test_a_damaged_heap_is_refused_before_hdf5_walks_it_forever(written: Path, size: int) -> None:
    data = bytearray(written.read_bytes())
    heap = data.find(b"GCOL")
    # An object's size lies 8 bytes into its header, and the first header 16 bytes into the heap.
    data[heap + 24 : heap + 32] = size.to_bytes(8, "little")
    written.write_bytes(data)
    with pytest.raises(UserError, match="truncated or not"):
        read_episode(written)


def test_foreign_and_missing_files(tmp_path: Path) -> None:
    text = tmp_path / "notes.hdf5"
    text.write_text("not an episode")
    foreign = tmp_path / "foreign.hdf5"
    with h5py.File(foreign, "w") as file:
        file["observations/images"] = np.zeros(3)
    for path, words in (
        (text, "truncated or not"),
        (foreign, "no episode that can be read"),
        (tmp_path / "no.hdf5", "no episode"),
    ):
        with pytest.raises(UserError, match=words):
            read_episode(path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("contacts/point", None, "has no field contacts/point"),
        ("measured/joint_states", np.zeros((23, 14), np.float32), "qpos_measured has shape"),
        ("action/left_arm_joint_states", np.zeros((7, 6), np.float32), "wrong shape"),
        (
            "vision/cam_head/intrinsic_matrix",
            np.zeros((24, 3), np.float32),
            "head_camera_intrinsic has shape",
        ),
        ("contacts/time", np.array([8, 14, 99], np.int32), "contacts/time must lie in"),
        ("contacts/body", np.array([0, 1], np.int32), "contacts/body has shape"),
        ("vision/cam_head/colors", np.zeros((24, 5), np.uint8), "cannot be decoded"),
    ],
)
def test_missing_fields_and_shapes_that_disagree(
    written: Path, field: str, value: np.ndarray | None, words: str
) -> None:
    with opened(written, "r+") as file:
        del file[field]
        if value is not None:
            file[field] = value
    with pytest.raises(UserError, match=words):
        read_episode(written)


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, make_episode: Make) -> None:
    path = episode_path(tmp_path, 0)
    episode = make_episode()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the file system refuses to grow the file
    try:
        with pytest.raises(UserError, match="cannot write"):
            write_episode(path, episode)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.rglob("*.*")) == []


def test_output_below_a_file_is_refused(tmp_path: Path, make_episode: Make) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        write_episode(episode_path(tmp_path, 0), make_episode())

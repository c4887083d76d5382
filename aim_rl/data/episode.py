"""One recorded episode, in memory and on disk (RoboTwin's HDF5 layout plus a `contacts` group)."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from envs.errors import UserError

CAMERAS = ("head_camera", "left_camera", "right_camera")
PICK, PLACE, PRESS = 0, 1, 2
LEFT, RIGHT = 0, 1

_DISK_CAMERA = {"head_camera": "cam_head", "left_camera": "cam_left_wrist", "right_camera": "cam_right_wrist"}
_FORMAT_VERSION = "1.0"
_PHYSICS_STEPS_PER_FRAME = 15
_JPEG_QUALITY = 95
# OpenCV looks along +z with y down, OpenGL along -z with y up.
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass
class Contacts:
    """Interaction points of an episode (PAPER.md, "Value-map labels").

    Points are kept in the frame of the body they lie on (the object for a pick, the support for a place, the
    button for a press), so that they stay on it when it moves before the event.
    """

    point: np.ndarray
    """f32 [N, 3], m, in the frame of the point's body."""
    time: np.ndarray
    """i32 [N], frame of the event in 0..T-1."""
    kind: np.ndarray
    """u8 [N], 0 pick, 1 place, 2 press."""
    arm: np.ndarray
    """u8 [N], 0 left, 1 right."""
    event: np.ndarray
    """i32 [N], points of one event share it."""
    body: np.ndarray
    """i32 [N], row of `body_poses`."""
    body_poses: np.ndarray
    """f32 [bodies, T, 7], xyz (m) and wxyz of each body in the world at every frame."""

    def world(self, points: int | np.ndarray, time: int | np.ndarray) -> np.ndarray:
        """World positions [..., 3] (m) of the points numbered `points` at the frames `time`.

        The two index arrays broadcast: `world(np.arange(n), t)` is [n, 3], `world(i, times)` is [F, 3].
        """
        pose = self.body_poses[self.body[points], time]
        point, axis, w = self.point[points], pose[..., 4:7], pose[..., 3:4]
        # Rodrigues' rotation by a unit quaternion.
        twice = 2.0 * np.cross(axis, point)
        return pose[..., :3] + point + w * twice + np.cross(axis, twice)

    @classmethod
    def empty(cls, frames: int) -> Contacts:
        """No events in an episode of `frames` frames."""
        integer, byte = np.zeros(0, np.int32), np.zeros(0, np.uint8)
        poses = np.zeros((0, frames, 7), np.float32)
        return cls(np.zeros((0, 3), np.float32), integer, byte, byte, integer, integer, poses)


@dataclass
class Episode:
    """T frames, named and shaped like the environment's observation, stacked over time.

    Frame t is what was observed before `action[t]`. Intrinsics are in pixels of the images as stored here;
    extrinsics are world to camera, OpenCV axes.
    """

    head_camera: np.ndarray
    """u8 [T, H, W, 3], RGB."""
    left_camera: np.ndarray
    right_camera: np.ndarray
    head_camera_intrinsic: np.ndarray
    """f32 [T, 3, 3], px."""
    left_camera_intrinsic: np.ndarray
    right_camera_intrinsic: np.ndarray
    head_camera_extrinsic: np.ndarray
    """f32 [T, 3, 4], m."""
    left_camera_extrinsic: np.ndarray
    right_camera_extrinsic: np.ndarray
    qpos: np.ndarray
    """f32 [T, 14], drive targets: left 6 joints (rad), left gripper (0..1), right 6, right gripper."""
    qpos_measured: np.ndarray
    """f32 [T, 14], measured, same order."""
    left_endpose: np.ndarray
    """f32 [T, 7], xyz (m) and wxyz, world."""
    right_endpose: np.ndarray
    action: np.ndarray
    """f32 [T, 14], absolute joint targets given at frame t, in the order of `qpos`."""
    perturbed: np.ndarray
    """bool [T], the command given at frame t was disturbed on purpose and is not to be imitated."""
    instruction: str
    contacts: Contacts
    task: str
    setting: str
    seed: int
    success: bool = True

    def __len__(self) -> int:
        return len(self.qpos)


def episode_path(directory: str | Path, index: int) -> Path:
    """Where RoboTwin's layout puts episode `index` of a dataset directory."""
    return Path(directory) / "data" / f"episode_{index:07d}.hdf5"


def episode_paths(directory: str | Path) -> list[Path]:
    """The episode files of a dataset directory, in order.

    Raises:
        UserError: the directory does not exist or holds no episode.
    """
    paths = sorted(Path(directory).glob("data/episode_*.hdf5"))
    if not paths:
        what = "holds no episodes (data/episode_*.hdf5)" if Path(directory).is_dir() else "does not exist"
        raise UserError(
            f"The dataset {directory} {what}; record one with "
            f"`python -m aim_rl.collect --task TASK --episodes N --out {directory}`."
        )
    return paths


# Writing


def write_episode(path: str | Path, episode: Episode) -> None:
    """Write one episode so that `path` is either complete or untouched, also when the disk fills up.

    Raises:
        UserError: the file cannot be written (no space, no permission, the parent is a file).
    """
    path = Path(path)
    # Built in memory (a few MB): HDF5 itself reports a full disk late and crashes while closing the file.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _fill(file, episode)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as out:
            out.write(buffer.getbuffer())
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror}; free some space or choose another output directory."
        ) from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def _fill(file: h5py.File, episode: Episode) -> None:
    endposes = {"left": episode.left_endpose, "right": episode.right_endpose}
    for group, joints, shift in (("state", episode.qpos, 0), ("action", episode.action, 1)):
        frames = np.minimum(np.arange(len(episode)) + shift, len(episode) - 1)
        for offset, side in ((0, "left"), (7, "right")):
            file[f"{group}/{side}_arm_joint_states"] = joints[:, offset : offset + 6].astype(np.float32)
            file[f"{group}/{side}_ee_joint_states"] = joints[:, offset + 6 : offset + 7].astype(np.float32)
            file[f"{group}/{side}_ee_poses"] = endposes[side][frames].astype(np.float32)
    # RoboTwin's joint states are drive targets; what the joints measured is this project's addition.
    file["measured/joint_states"] = episode.qpos_measured.astype(np.float32)
    file["additional_info/perturbed"] = episode.perturbed.astype(bool)
    for camera in CAMERAS:
        _write_camera(file.create_group(f"vision/{_DISK_CAMERA[camera]}"), episode, camera)
    for name, value in vars(episode.contacts).items():
        file[f"contacts/{name}"] = value
    file["instructions"] = json.dumps([episode.instruction])
    file["data_format_version"] = _FORMAT_VERSION
    file["additional_info/frequency"] = _PHYSICS_STEPS_PER_FRAME
    for name in ("task", "setting", "seed", "success"):
        file.attrs[name] = getattr(episode, name)


def _write_camera(group: h5py.Group, episode: Episode, camera: str) -> None:
    images = getattr(episode, camera)
    colors = group.create_dataset("colors", (len(images),), h5py.vlen_dtype(np.uint8))
    for frame, rgb in enumerate(images):
        # RoboTwin hands RGB to OpenCV's BGR encoder; so do we, and cv2.imdecode gives RGB back.
        _, jpeg = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        colors[frame] = jpeg
    group["shape"] = np.asarray(images.shape[1:], np.int32)
    group["intrinsic_matrix"] = getattr(episode, f"{camera}_intrinsic").astype(np.float32)
    group["extrinsics_matrix"] = _camera_to_world_opengl(getattr(episode, f"{camera}_extrinsic"))


# Reading


def read_episode(path: str | Path) -> Episode:
    """Read one episode written by `write_episode` (or by RoboTwin, with `contacts` added).

    Raises:
        UserError: the file is missing, truncated, not HDF5, lacks a field, or its fields disagree in shape.
    """
    path = Path(path)
    with _opened(path) as file:
        episode = _read(file, path)
    _check(episode, path)
    return episode


def episode_length(path: str | Path) -> int:
    """Number of frames of an episode file, without reading it whole. Raises UserError as `read_episode`."""
    with _opened(Path(path)) as file:
        return len(_field(file, "state/left_arm_joint_states", Path(path)))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"There is no episode {path}.") from error
    # h5py reports damage as either, depending on which block of the file is hit.
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} is truncated or not an HDF5 episode; delete it and collect again.") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} holds a field of the wrong shape or type; delete it and collect again.") from error


def _read(file: h5py.File, path: Path) -> Episode:
    def array(name: str) -> np.ndarray:
        return np.asarray(_field(file, name, path)[()])

    def joints(group: str) -> np.ndarray:
        parts = [f"{group}/{side}_{part}_joint_states" for side in ("left", "right") for part in ("arm", "ee")]
        return np.concatenate([array(part) for part in parts], axis=-1).astype(np.float32)

    fields: dict[str, Any] = {}
    for camera in CAMERAS:
        group = f"vision/{_DISK_CAMERA[camera]}"
        fields[camera] = _decode(array(f"{group}/colors"), path)
        fields[f"{camera}_intrinsic"] = array(f"{group}/intrinsic_matrix").astype(np.float32)
        fields[f"{camera}_extrinsic"] = _world_to_camera_opencv(array(f"{group}/extrinsics_matrix"))
    attributes = {name: _attribute(file, name, path) for name in ("task", "setting", "seed", "success")}
    return Episode(
        **fields,
        qpos=joints("state"),
        qpos_measured=array("measured/joint_states"),
        left_endpose=array("state/left_ee_poses"),
        right_endpose=array("state/right_ee_poses"),
        action=joints("action"),
        perturbed=array("additional_info/perturbed").astype(bool),
        instruction=_instruction(_field(file, "instructions", path)[()]),
        contacts=Contacts(**{name: array(f"contacts/{name}") for name in Contacts.__dataclass_fields__}),
        task=str(attributes["task"]),
        setting=str(attributes["setting"]),
        seed=int(attributes["seed"]),
        success=bool(attributes["success"]),
    )


def _field(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise UserError(f"{path} has no field {name}; it is damaged or not from `python -m aim_rl.collect`.")
    return dataset


def _attribute(file: h5py.File, name: str, path: Path) -> Any:
    if name not in file.attrs:
        raise UserError(f"{path} has no attribute {name}; it is damaged or not from `python -m aim_rl.collect`.")
    return file.attrs[name]


def _decode(colors: np.ndarray, path: Path) -> np.ndarray:
    images = []
    for jpeg in colors:
        image = cv2.imdecode(np.asarray(jpeg, np.uint8), cv2.IMREAD_COLOR) if len(jpeg) else None
        if image is None:
            raise UserError(f"{path} holds an image that cannot be decoded; delete it and collect again.")
        images.append(image)
    return np.stack(images)


def _instruction(text: bytes | str) -> str:
    """The first instruction of the JSON field: a string, a list, or RoboTwin's {"seen": [...], ...}."""
    value = json.loads(text)
    if isinstance(value, dict):
        value = value.get("seen", list(value.values()))
    while isinstance(value, list):
        value = value[0] if value else ""
    return str(value)


def _check(episode: Episode, path: Path) -> None:
    """Shapes of an episode from outside; everything after this may rely on them."""
    frames, contacts = len(episode), episode.contacts
    expected: dict[str, tuple[int, ...]] = {"qpos": (14,), "qpos_measured": (14,), "action": (14,)}
    expected |= {"left_endpose": (7,), "right_endpose": (7,), "perturbed": ()}
    for camera in CAMERAS:
        expected[camera] = (*getattr(episode, camera).shape[1:3], 3)
        expected |= {f"{camera}_intrinsic": (3, 3), f"{camera}_extrinsic": (3, 4)}
    for name, shape in expected.items():
        _require_shape(path, name, getattr(episode, name), (frames, *shape))
    points, bodies = len(contacts.time), len(contacts.body_poses)
    for name in ("time", "kind", "arm", "event", "body"):
        _require_shape(path, f"contacts/{name}", getattr(contacts, name), (points,))
    _require_shape(path, "contacts/point", contacts.point, (points, 3))
    _require_shape(path, "contacts/body_poses", contacts.body_poses, (bodies, frames, 7))
    for name, limit in (("time", frames), ("kind", 3), ("arm", 2), ("body", bodies)):
        values = getattr(contacts, name)
        if points and (values.min() < 0 or values.max() >= limit):
            raise UserError(f"{path}: contacts/{name} must lie in 0..{limit - 1}; delete it and collect again.")


def _require_shape(path: Path, name: str, value: np.ndarray, shape: tuple[int, ...]) -> None:
    if value.shape != shape:
        raise UserError(f"{path}: {name} has shape {value.shape}, expected {shape}; delete the file and collect again.")


def _camera_to_world_opengl(extrinsic: np.ndarray) -> np.ndarray:
    """World to camera, OpenCV [T, 3, 4] -> camera to world, OpenGL [T, 4, 4]."""
    square = np.broadcast_to(np.eye(4), (len(extrinsic), 4, 4)).copy()
    square[:, :3] = extrinsic
    return (np.linalg.inv(square) @ _OPENCV_FROM_OPENGL).astype(np.float32)


def _world_to_camera_opencv(camera_to_world: np.ndarray) -> np.ndarray:
    """Camera to world, OpenGL [T, 4, 4] -> world to camera, OpenCV [T, 3, 4]."""
    world_to_camera = np.linalg.inv(camera_to_world.astype(np.float64) @ _OPENCV_FROM_OPENGL)
    return world_to_camera[:, :3].astype(np.float32)

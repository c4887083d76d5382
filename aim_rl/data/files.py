"""Episodes on disk: finds and reads them in all formats, writes RoboTwin's HDF5 layout plus a `contacts` group."""

from __future__ import annotations

import io
import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np

from aim_rl.data import lerobot, robotwin
from aim_rl.data.episode import Contacts, Episode, Header
from aim_rl.data.hdf5 import EpisodeFile, camera_to_world_opengl, opened
from aim_rl.data.lerobot import DEFAULT_OPTIONS, LeRobotEpisode, LeRobotOptions
from envs.constants import CAMERAS
from envs.errors import UserError
from envs.files import atomic_file

_FORMAT_VERSION = "1.0"
_JPEG_QUALITY = 95
_DEPTH = 4  # levels between a directory and a `data` folder: <checkout>/data/<config>/<task>/<embodiment>/data
Source = Path | LeRobotEpisode
"""Where an episode is: a file, or a row of a LeRobot dataset."""


def episode_path(directory: str | Path, index: int) -> Path:
    """Where RoboTwin's layout puts episode `index` of a dataset directory."""
    return Path(directory) / "data" / f"episode_{index:07d}.hdf5"


def find_episodes(directory: str | Path, options: LeRobotOptions = DEFAULT_OPTIONS) -> list[Source]:
    """The episodes of a dataset directory in any format: files as `episode_paths`, then those of LeRobot datasets.

    Args:
        directory: an HDF5 or LeRobot dataset, or a folder of datasets.
        options: how to read LeRobot datasets.

    Raises:
        UserError: as `episode_paths`, or a LeRobot dataset cannot be read.
    """
    infos = [path for depth in range(_DEPTH + 1) for path in Path(directory).glob("*/" * depth + lerobot.INFO)]
    if not infos:
        return [*episode_paths(directory)]
    datasets = [lerobot.LeRobotDataset(path.parents[1], options) for path in sorted(infos)]
    _look_for_closed_folders(directory, len(datasets))
    return [*_numbered_paths(directory), *(episode for dataset in datasets for episode in dataset.episodes())]


def files_of(sources: Sequence[Source]) -> list[Path]:
    """All files that the episodes are read from."""
    datasets = {source.dataset.folder: None for source in sources if isinstance(source, LeRobotEpisode)}
    found = [path for folder in datasets for part in lerobot.PARTS for path in sorted(folder.glob(f"{part}/**/*"))]
    for path in (source for source in sources if isinstance(source, Path)):
        found += [path, robotwin.instructions_beside(path)]
    return [path for path in found if path.is_file()]


def episode_paths(directory: str | Path) -> list[Path]:
    """The HDF5 files of a dataset directory, folder by folder, sorted by number.

    They are in its `data` folder, or in `data` folders up to four levels down: RoboTwin's
    `<config>/<task>/<embodiment>/data/episode_0000000.hdf5`, its older `<task>/<config>/data/episode0.hdf5`, or any
    folder of datasets.

    Raises:
        UserError: the directory does not exist, cannot be read or holds no episode.
    """
    if Path(directory).is_file():
        raise UserError(f"The dataset {directory} is a file; give the folder that holds data/episode_*.hdf5.")
    paths = _numbered_paths(directory)
    _look_for_closed_folders(directory, len(paths))
    if not paths:
        what = (
            "holds no episodes (data/episode_*.hdf5, or LeRobot's meta/info.json)"
            if Path(directory).is_dir()
            else "does not exist"
        )
        raise UserError(
            f"The dataset {directory} {what}; record one with "
            f"`python -m aim_rl.collect --task TASK --episodes N --out {directory}`."
        )
    return paths


def _numbered_paths(directory: str | Path) -> list[Path]:
    numbered = []
    for depth in range(_DEPTH + 1):
        for path in Path(directory).glob("*/" * depth + "data/episode*.hdf5"):
            if name := re.fullmatch(r"episode_?(\d+)\.hdf5", path.name):
                numbered.append((path.parent, int(name[1]), path))
    return [path for _, _, path in sorted(numbered)]


def _look_for_closed_folders(directory: str | Path, found: int) -> None:
    """Warns of folders, down to where episodes may be, that this user may not list: globbing passes over them.

    Raises:
        UserError: there are some, and no episode was found.
    """
    below = (path for depth in range(1, _DEPTH + 2) for path in Path(directory).glob("*/" * depth))
    folders = [path for path in (Path(directory), *below) if path.is_dir()]
    closed = [path for path in folders if not os.access(path, os.R_OK | os.X_OK, effective_ids=True)]
    if closed:
        sentence = f"{closed[0]} cannot be read: permission denied; make it readable for this user"
        if not found:
            raise UserError(f"{sentence}.")
        warnings.warn(f"{sentence}, or its episodes are left out", stacklevel=3)


# Writing


def write_episode(path: str | Path, episode: Episode) -> None:
    """Writes one episode so that `path` is either complete or untouched, also when the disk fills up.

    Raises:
        UserError: the file cannot be written (no space, no permission, the parent is a file).
    """
    # In memory first (a few MB): HDF5 itself reports a full disk late and crashes while closing the file.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _fill(file, episode)
    with atomic_file(Path(path)) as aside:
        aside.write_bytes(buffer.getbuffer())


def add_contacts(path: str | Path, contacts: Contacts) -> None:
    """Adds contacts to an episode file that has none, of any layout; `path` is either changed or untouched.

    Raises:
        UserError: the file cannot be written.
    """
    buffer = io.BytesIO(Path(path).read_bytes())
    with h5py.File(buffer, "r+") as file:
        _fill_contacts(file, contacts)
    with atomic_file(Path(path)) as aside:
        aside.write_bytes(buffer.getbuffer())


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
        _write_camera(file.create_group(f"vision/{robotwin.DISK_CAMERA[camera]}"), episode, camera)
    if episode.contacts_recorded:
        _fill_contacts(file, episode.contacts)
    file["instructions"] = json.dumps(episode.instructions)
    file["data_format_version"] = _FORMAT_VERSION
    file["additional_info/frequency"] = robotwin.PHYSICS_STEPS_PER_FRAME
    for name in ("task", "setting", "seed", "success"):
        file.attrs[name] = getattr(episode, name)


def _fill_contacts(file: h5py.File, contacts: Contacts) -> None:
    for name, value in vars(contacts).items():
        file[f"contacts/{name}"] = value


def _write_camera(group: h5py.Group, episode: Episode, camera: str) -> None:
    images = getattr(episode, camera)
    colors = group.create_dataset("colors", (len(images),), h5py.vlen_dtype(np.uint8))
    for frame, rgb in enumerate(images):
        # RGB through OpenCV's BGR encoder, as in RoboTwin before September 2026: cv2.imdecode gives RGB back.
        _, jpeg = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        colors[frame] = jpeg
    group["shape"] = np.asarray(images.shape[1:], np.int32)
    group["intrinsic_matrix"] = getattr(episode, f"{camera}_intrinsic").astype(np.float32)
    group["extrinsics_matrix"] = camera_to_world_opengl(getattr(episode, f"{camera}_extrinsic"))


# Reading


def read_header(source: str | Source) -> Header:
    """The header of an episode in any format. Raises UserError as `read_episode`."""
    if isinstance(source, LeRobotEpisode):
        return source.header()
    with opened(Path(source)) as file:
        if robotwin.is_legacy(file):
            frames, task = file.length("joint_action/vector") - 1, robotwin.task_of(file.path)
        else:
            frames = file.length("state/left_arm_joint_states")
            task = str(file.attribute("task")) if file.has_attribute("task") else robotwin.task_of(file.path)
        success = not file.has_attribute("success") or bool(file.attribute("success"))
        return Header(frames, task, "contacts" in file, success)


def common_fps(directory: str | Path, headers: Sequence[Header]) -> float:
    """The frames per second of all episodes, given their headers. Raises UserError if they differ or there are none."""
    rates = sorted({round(header.fps): header.fps for header in headers}.values())
    if not rates:
        raise UserError(f"{directory} holds no episode that succeeded; record others.")
    if len(rates) > 1:
        raise UserError(
            f"{directory} holds episodes of {' and '.join(f'{rate:g}' for rate in rates)} frames per second; chunks of "
            "several frame rates take different times, so take the datasets of one rate alone."
        )
    return rates[0]


def read_episode(source: str | Source) -> Episode:
    """Reads one episode: written by `write_episode` or by RoboTwin in either of its layouts, or of a LeRobot dataset.

    Raises:
        UserError: the file is missing, damaged, not HDF5 or of another layout, being written by another process, lacks
            a field, or holds values or shapes that contradict the layout.
    """
    if isinstance(source, LeRobotEpisode):
        episode = source.read()
        _check(episode, source)
    else:
        with opened(Path(source)) as file:
            if robotwin.is_legacy(file):
                episode = robotwin.read_legacy(file)
            elif file.has_attribute("task"):
                episode = _read_own(file)
            else:
                episode = robotwin.read_main(file)
            _check(episode, file.path)
    if not episode.contacts_recorded:
        episode.contacts = robotwin.gripper_contacts(episode)
    return episode


def _read_own(source: EpisodeFile) -> Episode:
    fields, recorded = robotwin.main_fields(source), "contacts" in source  # a rollout on RoboTwin has none
    return Episode(
        **fields,
        qpos_measured=source.array("measured/joint_states"),
        perturbed=source.array("additional_info/perturbed").astype(bool),
        contacts=robotwin.recorded_contacts(source) if recorded else Contacts.empty(len(fields["qpos"])),
        contacts_recorded=recorded,
        task=str(source.attribute("task")),
        setting=str(source.attribute("setting")),
        seed=int(source.attribute("seed")),
        success=bool(source.attribute("success")),
    )


def _check(episode: Episode, path: Source) -> None:
    """Checks shapes and ranges; code that uses episodes relies on them."""
    frames, contacts = len(episode), episode.contacts
    if frames == 0:
        raise UserError(f"{path} holds no frame with an action; record or copy it again.")
    expected: dict[str, tuple[int, ...]] = {"qpos": (14,), "qpos_measured": (14,), "action": (14,)}
    expected |= {"left_endpose": (7,), "right_endpose": (7,), "perturbed": ()}
    for camera in CAMERAS:
        expected[camera] = (*getattr(episode, camera).shape[1:3], 3)
        expected |= {f"{camera}_intrinsic": (3, 3), f"{camera}_extrinsic": (3, 4)}
    for name, shape in expected.items():
        value = getattr(episode, name)
        _require_shape(path, name, value, (frames, *shape))
        if not np.isfinite(value).all():
            raise UserError(f"{path}: {name} holds NaN or infinity; record or copy the file again.")
    grippers = np.stack([episode.qpos, episode.action])[..., [6, 13]]
    if grippers.min() < -1e-3 or grippers.max() > 1 + 1e-3:
        raise UserError(f"{path} holds gripper commands outside 0 (closed) .. 1 (open); record the episode again.")
    norms = np.linalg.norm(np.stack([episode.left_endpose, episode.right_endpose])[..., 3:], axis=-1)
    if np.abs(norms - 1).max() > 1e-2:
        raise UserError(f"{path} holds endposes that are not xyz and a unit quaternion; record the episode again.")
    points, bodies = len(contacts.time), len(contacts.body_poses)
    for name in ("time", "kind", "arm", "event", "body"):
        _require_shape(path, f"contacts/{name}", getattr(contacts, name), (points,))
    _require_shape(path, "contacts/point", contacts.point, (points, 3))
    _require_shape(path, "contacts/body_poses", contacts.body_poses, (bodies, frames, 7))
    for name, limit in (("time", frames), ("kind", 3), ("arm", 2), ("body", bodies)):
        values = getattr(contacts, name)
        if points and (values.min() < 0 or values.max() >= limit):
            raise UserError(f"{path}: contacts/{name} must lie in 0..{limit - 1}; record or copy the file again.")


def _require_shape(path: Source, name: str, value: np.ndarray, shape: tuple[int, ...]) -> None:
    if value.shape != shape:
        raise UserError(f"{path}: {name} has shape {value.shape}, expected {shape}; record or copy the file again.")

"""LeRobot datasets of format v3, read (https://huggingface.co/docs/lerobot/lerobot-dataset-v3).

A folder holds many episodes per file: `meta/info.json` (features, frames per second), `meta/tasks.parquet` (the
instructions), `meta/episodes/*/*.parquet` (a row per episode: where it is), `data/*/*.parquet` (a row per frame) and
`videos/<feature>/*/*.mp4`. What only this project records (`aim_rl.data.lerobot_export` writes it) are features of the
frames under the environment's names, columns `aim_rl/...` of the episodes, and `meta/contacts.parquet`. Folders of
others lack them: endposes then follow from the joints, camera matrices from the robot, contacts from the grippers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tyro
from av.error import FFmpegError

from aim_rl.data.episode import Contacts, Episode, Header
from aim_rl.data.video import read_frames
from aim_rl.model.waypoints import matrix_to_quaternion
from envs import task_names
from envs.constants import ARMS, CAMERAS
from envs.errors import UserError
from envs.tabletop.cameras import camera_extrinsics, camera_intrinsic
from envs.tabletop.kinematics import endpose

STATE, ACTION = "observation.state", "action"
IMAGES = "observation.images."
"""Start of the names of the cameras' features."""
CAMERA_NAMES = {
    "head_camera": ("head_camera", "cam_head", "cam_high"),
    "left_camera": ("left_camera", "cam_left_wrist"),
    "right_camera": ("right_camera", "cam_right_wrist"),
}
"""What the cameras may be called: RoboTwin's names and LeRobot's, the main layout's, and ALOHA's."""
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO, TASKS, STATS, CONTACTS = "meta/info.json", "meta/tasks.parquet", "meta/stats.json", "meta/contacts.parquet"

PARTS = ("meta", "data", "videos")
"""Folders of a dataset."""

_MAX_ROWS = 2**22  # of a parquet file; LeRobot's are of at most 100 MB
_AGAIN = "download or copy the dataset again"


@dataclass(frozen=True, kw_only=True)
class LeRobotOptions:
    """How to read LeRobot folders that do not say it themselves."""

    cameras: tuple[str, ...] = ()
    """Names of the head, left and right camera in a LeRobot folder; by default RoboTwin's."""
    robot: Literal["aloha-agilex"] | None = None
    """Robot of a LeRobot folder without camera matrices: takes those of RoboTwin's D435 cameras on it."""

    def __post_init__(self) -> None:
        if len(self.cameras) not in (0, 3):
            raise UserError("--cameras takes three names: those of the head, the left and the right camera")


DEFAULT_OPTIONS = LeRobotOptions()
LeRobotFlags = Annotated[LeRobotOptions, tyro.conf.arg(name="")]
"""A field of this type gives a command the flags --cameras and --robot."""


class LeRobotDataset:
    """The metadata of one folder, and its episodes.

    Args:
        folder: holds `meta/info.json`.
        options: how to read what the folder does not say.

    Attributes:
        fps: frames per second.

    Raises:
        UserError: another version of the format, another robot, no such cameras, no camera matrices, or damage.
    """

    def __init__(self, folder: Path, options: LeRobotOptions) -> None:
        self.folder, self._options = folder, options
        with _readable(folder / INFO):
            info = json.loads((folder / INFO).read_text())
            _check_version(folder, str(info["codebase_version"]))
            self.fps = float(info["fps"])
            self._features = {name: str(feature["dtype"]) for name, feature in info["features"].items()}
            shapes = {name: tuple(feature["shape"]) for name, feature in info["features"].items()}
            if not 0 < self.fps < math.inf:
                raise ValueError("fps")
            usual_paths = (info["data_path"], info["video_path"]) == (DATA_PATH, VIDEO_PATH)
        for name in (STATE, ACTION):
            if shapes.get(name) != (14,):
                size = f"of shape {list(shapes[name])}" if name in shapes else "missing"
                raise UserError(
                    f"{folder}: {name} is {size}, and only aloha-agilex's 14 numbers can be read (left 6 joints, left "
                    "gripper, right 6 joints, right gripper); take a dataset of that robot."
                )
        self._cameras = {camera: self._find_camera(camera) for camera in CAMERAS}
        if not usual_paths:
            raise UserError(f"{folder / INFO} names its files otherwise than LeRobot does; {_AGAIN}.")
        self.has_matrices = all(
            f"{camera}_{matrix}" in self._features for camera in CAMERAS for matrix in ("intrinsic", "extrinsic")
        )
        if not self.has_matrices and options.robot is None:
            raise UserError(
                f"{folder} does not say where its cameras are; if they are RoboTwin's D435 cameras on aloha-agilex, "
                "say so by --robot aloha-agilex."
            )
        self._rows, self._tasks = self._read_rows(), self._read_tasks()
        self._data: tuple[Path, pa.Table] | None = None

    def episodes(self) -> list[LeRobotEpisode]:
        """The episodes, in the order of their rows."""
        return [LeRobotEpisode(self, number) for number in range(len(self._rows))]

    def row(self, number: int) -> dict[str, Any]:
        """The metadata of an episode."""
        return self._rows.slice(number, 1).to_pylist()[0]

    def task(self) -> str:
        """The task that a folder's name, or one above it, says; else the folder's name, for `--task all`."""
        folder = self.folder.absolute()
        named = [each.name for each in (folder, *folder.parents[:3]) if each.name in task_names()]
        return named[0] if named else folder.name

    def frames(self, row: dict[str, Any]) -> dict[str, np.ndarray]:
        """The numbers of an episode: feature -> [T, ...].

        Raises:
            UserError: the file does not hold the episode that its metadata promise, or frames of another rate.
        """
        path = self.folder / _filled(DATA_PATH, row["data/chunk_index"], row["data/file_index"])
        index, length = row["episode_index"], row["length"]
        with _readable(path):
            if self._data is None or self._data[0] != path:
                self._data = path, _read_table(path, _columns(self._features))
            table = self._data[1]
            table = table.filter(pa.array(table["episode_index"].to_numpy() == index))
            if len(table) != length:
                raise UserError(
                    f"{path} holds {len(table)} frames of episode {index}, and its metadata say {length}; {_AGAIN}."
                )
            arrays = {name: _array(table[name]) for name in table.column_names}
            numbers = np.arange(length) / self.fps
            if np.abs(arrays["timestamp"].reshape(length) - numbers).max(initial=0) > 0.1 / self.fps:
                raise UserError(
                    f"{path}: the frames of episode {index} are not {self.fps:g} per second, as {INFO} says; record "
                    "episodes of one rate into a dataset."
                )
        return arrays

    def images(self, row: dict[str, Any], camera: str) -> np.ndarray:
        """The frames of a camera in an episode, u8 [T, H, W, 3]. Raises UserError: the video lacks them."""
        key = self._cameras[camera]
        with _readable(self.folder / "meta" / "episodes"):
            chunk, file, start = (
                row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index", "from_timestamp")
            )
            path, start = self.folder / _filled(VIDEO_PATH, int(chunk), int(file), key), float(start)
        with _readable(path):
            return read_frames(path, start, self.fps, row["length"])

    def matrices(self, arrays: dict[str, np.ndarray], sizes: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
        """`<camera>_intrinsic` [T, 3, 3] (px) and `<camera>_extrinsic` [T, 3, 4] (world to camera, OpenCV, m): recorded
        ones, or those of the robot in its pose `observation.state`, for images of `sizes` (H, W).
        """
        matrices: dict[str, np.ndarray] = {}
        if self.has_matrices:
            for camera in CAMERAS:
                for name, shape in ((f"{camera}_intrinsic", (3, 3)), (f"{camera}_extrinsic", (3, 4))):
                    matrices[name] = arrays[name].reshape(-1, *shape).astype(np.float32)
            return matrices
        extrinsics = camera_extrinsics(arrays[STATE])
        for camera, size in sizes.items():
            matrices[f"{camera}_intrinsic"] = np.repeat(camera_intrinsic(size)[None], len(arrays[STATE]), 0)
            matrices[f"{camera}_extrinsic"] = extrinsics[camera]
        return matrices

    def instructions(self, row: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[str]:
        """The instructions of an episode: all that fit where recorded, else those of its frames."""
        named = row.get("aim_rl/instructions") or [self._tasks.get(int(task)) for task in arrays["task_index"].flat]
        texts = [text for text in dict.fromkeys(named) if isinstance(text, str) and text]
        if not texts:
            raise UserError(f"{self.folder / TASKS} has no instruction for episode {row['episode_index']}; {_AGAIN}.")
        return texts

    def contacts(self, row: dict[str, Any]) -> Contacts:
        """The contacts of an episode that has recorded ones. Raises UserError: they are missing."""
        path = self.folder / CONTACTS
        with _readable(path):
            table = pq.read_table(path, filters=[("episode_index", "=", row["episode_index"])])
            (fields,) = table.drop_columns(["episode_index"]).to_pylist()
            time = np.array(fields["time"], np.int32)
            small = {name: np.array(fields[name], np.uint8) for name in ("kind", "arm")}
            whole = {name: np.array(fields[name], np.int32) for name in ("event", "body")}
            point = np.array(fields["point"], np.float32).reshape(-1, 3)
            poses = np.frombuffer(fields["body_poses"], "<f4").reshape(-1, row["length"], 7)
            return Contacts(point=point, time=time, body_poses=poses, **small, **whole)

    def _find_camera(self, camera: str) -> str:
        if self._options.cameras:
            names: tuple[str, ...] = (self._options.cameras[CAMERAS.index(camera)],)
        else:
            names = CAMERA_NAMES[camera]
        keys = [*(IMAGES + name for name in names), *names]
        key = next((key for key in keys if key in self._features), None)
        if key is None:
            there = [name.removeprefix(IMAGES) for name, dtype in self._features.items() if dtype == "video"]
            raise UserError(
                f"{self.folder} has no {camera} (called {' or '.join(names)}) among its videos "
                f"({', '.join(there) or 'none'}); name three of them by --cameras HEAD LEFT RIGHT."
            )
        if self._features[key] != "video":
            raise UserError(
                f"{self.folder} holds {key} as images; convert them by `lerobot-edit-dataset --operation.type "
                "convert_image_to_video`."
            )
        return key

    def _read_rows(self) -> pa.Table:
        folder = self.folder / "meta" / "episodes"
        files = sorted(folder.glob("*/*.parquet"))
        with _readable(folder):
            if not files:
                raise FileNotFoundError
            tables = []
            for file in files:
                names = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
                tables.append(_read_table(file, names))
            rows = pa.concat_tables(tables, promote_options="default")
            for name in ("episode_index", "length", "data/chunk_index", "data/file_index"):
                if not pa.types.is_integer(rows[name].type) or rows[name].null_count:
                    raise ValueError(name)
            return rows

    def _read_tasks(self) -> dict[int, str]:
        """Task index -> instruction; LeRobot's pandas index has a name in newer files only."""
        path = self.folder / TASKS
        with _readable(path):
            table = _read_table(path, None)
            text = "task" if "task" in table.column_names else "__index_level_0__"
            return dict(zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True))


@dataclass(frozen=True)
class LeRobotEpisode:
    """An episode of a LeRobot dataset, by the number of its row in the metadata."""

    dataset: LeRobotDataset
    number: int

    def __str__(self) -> str:
        return f"{self.dataset.folder}, episode {self.number}"

    def header(self) -> Header:
        """What the metadata show. Raises UserError: they are damaged."""
        dataset, row = self.dataset, self.dataset.row(self.number)
        with _readable(dataset.folder / "meta" / "episodes"):
            return Header(
                frames=int(row["length"]),
                task=str(row.get("aim_rl/task") or dataset.task()),
                contacts_recorded=bool(row.get("aim_rl/contacts_recorded")),
                success=row.get("aim_rl/success") is not False,
                fps=dataset.fps,
            )

    def read(self) -> Episode:
        """Reads and decodes this episode alone. It has contacts only if this project recorded them.

        Raises:
            UserError: a file is missing or damaged, or lacks frames of the episode.
        """
        dataset, row, header = self.dataset, self.dataset.row(self.number), self.header()
        arrays = dataset.frames(row)
        images = {camera: dataset.images(row, camera) for camera in CAMERAS}
        with _readable(dataset.folder):
            qpos, action = (arrays[name].reshape(-1, 14).astype(np.float32) for name in (STATE, ACTION))
            matrices = dataset.matrices(arrays, {camera: each.shape[1:3] for camera, each in images.items()})
            return Episode(
                **images,
                **matrices,
                **_endposes(qpos, arrays),
                qpos=qpos,
                qpos_measured=arrays.get("qpos_measured", qpos).astype(np.float32),
                action=action,
                perturbed=arrays.get("perturbed", np.zeros(len(qpos), bool)).reshape(-1).astype(bool),
                instructions=dataset.instructions(row, arrays),
                contacts=dataset.contacts(row) if header.contacts_recorded else Contacts.empty(len(qpos)),
                contacts_recorded=header.contacts_recorded,
                cameras_recorded=dataset.has_matrices and row.get("aim_rl/cameras_recorded") is not False,
                task=header.task,
                setting=str(row.get("aim_rl/setting") or dataset.folder.name),
                seed=int(row.get("aim_rl/seed", -1)),
                success=header.success,
            )


def _check_version(folder: Path, version: str) -> None:
    if version.startswith("v2."):
        raise UserError(
            f"{folder} is in LeRobot's format {version}; convert it, where lerobot is installed, by `python -m "
            f"lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=local/{folder.name} --root={folder} "
            "--push-to-hub=false`."
        )
    if not version.startswith("v3."):
        raise UserError(f"{folder} is in LeRobot's format {version}; only v3 can be read.")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises UserError where the body finds that a file is missing, truncated or of other content than the format's."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} is missing; {_AGAIN}.") from error
    except (OSError, FFmpegError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} is truncated or cannot be read ({reason}); {_AGAIN}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} lacks a field of LeRobot's format v3, or holds it wrongly; {_AGAIN}.") from error


def _filled(template: str, chunk: int, file: int, key: str = "") -> str:
    return template.format(chunk_index=chunk, file_index=file, video_key=key)


def _columns(features: Container[str]) -> list[str]:
    """The columns of a data file that an episode needs, of those that the dataset has."""
    own = [f"{camera}_{matrix}" for camera in CAMERAS for matrix in ("intrinsic", "extrinsic")]
    own += [*(f"{arm}_endpose" for arm in ARMS), "qpos_measured", "perturbed"]
    there = [name for name in own if name in features]
    return ["episode_index", "timestamp", "task_index", STATE, ACTION, *there]


def _read_table(path: Path, columns: list[str] | None) -> pa.Table:
    """Reads a parquet file, after a look at how many rows it claims."""
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows > _MAX_ROWS:
            raise UserError(
                f"{path} says that it has more than {_MAX_ROWS} rows, as no file of LeRobot's has; {_AGAIN}."
            )
        return file.read(columns)


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """A column as [T, ...]; lists, also nested ones, must be of equal length and without gaps."""
    values, rows = column.combine_chunks(), len(column)
    while (
        pa.types.is_fixed_size_list(values.type) or pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
    ):
        values = values.flatten()
    array = values.to_numpy(zero_copy_only=False)
    if array.dtype == object:
        raise ValueError("gaps")
    return array.reshape(rows, -1) if rows else array.reshape(0, 1)


def _endposes(qpos: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`left_endpose` and `right_endpose` [T, 7]: as recorded, or by the forward kinematics of aloha-agilex."""
    names = [f"{arm}_endpose" for arm in ARMS]
    if all(name in arrays for name in names):
        return {name: arrays[name].astype(np.float32) for name in names}
    position, rotation = endpose(torch.from_numpy(qpos.astype(np.float64)))
    poses = torch.cat([position, matrix_to_quaternion(rotation)], -1).float().numpy()
    return {name: poses[:, arm] for arm, name in enumerate(names)}

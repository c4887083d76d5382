"""LeRobot datasets of format v3, written (`aim_rl.data.lerobot` reads them, and says what is where).

What the format has no place for is kept where LeRobot's loader does not mind: camera matrices, measured joints,
endposes and perturbation as features of the frames, what belongs to an episode as columns `aim_rl/...` of the
episodes, and contacts in a file of their own. Everything but the images comes back bit by bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aim_rl.data.episode import FPS, Contacts, Episode
from aim_rl.data.lerobot import (
    ACTION,
    CONTACTS,
    DATA_PATH,
    EPISODES_PATH,
    IMAGES,
    INFO,
    STATE,
    STATS,
    TASKS,
    VIDEO_PATH,
)
from aim_rl.data.lerobot_stats import Stats, aggregate, image_stats, vector_stats
from aim_rl.data.video import CODEC, PIXEL_FORMAT, VideoWriter
from envs.constants import ARMS, CAMERAS
from envs.errors import UserError
from envs.files import atomic_folder

CHUNK_SIZE, DATA_MB, VIDEO_MB = 1000, 100, 200
"""LeRobot's sizes: files of a folder, and MB after which a file is closed."""
_EPISODES_AT_ONCE = 100  # rows of metadata that are written together
_JOINT_NAMES = [f"{arm}_{joint}" for arm in ARMS for joint in (*(f"joint_{n}" for n in range(1, 7)), "gripper")]
_POSE_NAMES = ["x", "y", "z", "qw", "qx", "qy", "qz"]
_VECTORS = {STATE: _JOINT_NAMES, ACTION: _JOINT_NAMES, "qpos_measured": _JOINT_NAMES}
_VECTORS |= {f"{arm}_endpose": _POSE_NAMES for arm in ARMS}
_VECTORS |= {f"{camera}_intrinsic": [f"k{row}{col}" for row in "012" for col in "012"] for camera in CAMERAS}
_VECTORS |= {f"{camera}_extrinsic": [f"e{row}{col}" for row in "012" for col in "0123"] for camera in CAMERAS}
_SCALARS = {
    "perturbed": "bool",
    "next.reward": "float32",
    "next.done": "bool",
    "next.success": "bool",
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def check_new(folder: Path) -> None:
    """Raises UserError if there is something at `folder` already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"cannot write {folder}: it exists already; choose another folder, or delete it")


@contextmanager
def lerobot_writer(folder: Path, fps: float = FPS) -> Iterator[LeRobotWriter]:
    """A writer of a new dataset, which is at `folder` when the body has ended well, and else is not.

    Raises:
        UserError: there is something at `folder`, the disk refuses, or no episode was added.
    """
    check_new(folder)
    with atomic_folder(folder, "the dataset") as aside:
        writer = LeRobotWriter(aside, fps)
        try:
            yield writer
        finally:
            writer.close()
        writer.write_metadata()


class LeRobotWriter:
    """Appends episodes to a dataset; `lerobot_writer` makes and completes it.

    Attributes:
        episodes: how many it has.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self._folder, self._fps = folder, fps
        self._data = _ParquetFiles(folder, DATA_PATH)
        self._rows_files = _ParquetFiles(folder, EPISODES_PATH)
        self._contacts: pq.ParquetWriter | None = None
        self._videos: dict[str, _VideoFiles] = {}
        self._rows: list[dict[str, Any]] = []
        self._tasks: dict[str, int] = {}
        self._stats: dict[str, Stats] = {}
        self.episodes = self._frames = 0

    def add(self, episode: Episode, videos: Mapping[str, np.ndarray] | None = None) -> None:
        """Appends an episode.

        Args:
            episode: its images are encoded with a small loss, the rest is kept as it is.
            videos: further pictures, feature -> u8 [T, H, W, 3]; the same features in every episode.

        Raises:
            UserError: the images are of another size than those of the episodes before, or there are other videos.
            av.FFmpegError, OSError: the disk refuses.
        """
        images = {IMAGES + camera: getattr(episode, camera) for camera in CAMERAS} | dict(videos or {})
        self._check(images)
        columns = self._columns(episode)
        stats = {key: image_stats(each) for key, each in images.items()}
        stats |= {key: vector_stats(values) for key, values in columns.items()}
        row = {"episode_index": self.episodes, "tasks": episode.instructions[:1], "length": len(episode)}
        chunk, file = self._data.place()
        row |= {"data/chunk_index": chunk, "data/file_index": file}
        row |= {"dataset_from_index": self._frames, "dataset_to_index": self._frames + len(episode)}
        self._data.write(_table(columns))
        for key, each in images.items():
            row |= {f"videos/{key}/{name}": value for name, value in self._videos[key].append(each).items()}
        row |= {f"aim_rl/{name}": getattr(episode, name) for name in _EPISODE_FIELDS}
        if episode.contacts_recorded:
            self._add_contacts(episode.contacts)
        row |= {f"stats/{key}/{name}": each.tolist() for key, some in stats.items() for name, each in some.items()}
        self._rows.append(row)
        self._stats = stats if not self.episodes else {key: aggregate(self._stats[key], stats[key]) for key in stats}
        self.episodes, self._frames = self.episodes + 1, self._frames + len(episode)
        if len(self._rows) == _EPISODES_AT_ONCE:
            self._write_rows()

    def close(self) -> None:
        """Closes the files."""
        for files in (self._data, *self._videos.values()):
            files.close()
        if self._contacts is not None:
            self._contacts.close()

    def write_metadata(self) -> None:
        """Writes `meta/`, after which the dataset is complete. Raises UserError: it has no episode."""
        if not self.episodes:
            raise UserError("there is no episode to write; record some first")
        self._write_rows()
        self._rows_files.close()
        _write_tasks(self._folder / TASKS, self._tasks)
        stats = {key: {name: each.tolist() for name, each in some.items()} for key, some in self._stats.items()}
        (self._folder / STATS).write_text(json.dumps(stats, indent=4))
        (self._folder / INFO).write_text(json.dumps(self._info(), indent=4))

    def _check(self, images: Mapping[str, np.ndarray]) -> None:
        """Makes the video files at the first episode; later ones must have the same videos of the same sizes."""
        sizes = {key: each.shape[1:3] for key, each in images.items()}
        if not self._videos:
            self._videos = {key: _VideoFiles(self._folder, key, size, self._fps) for key, size in sizes.items()}
        before = {key: files.size for key, files in self._videos.items()}
        if sizes != before:
            raise UserError(
                f"the episodes have images of several sizes ({before} and then {sizes}), and a LeRobot dataset has "
                "one; export the episodes of each size alone"
            )

    def _columns(self, episode: Episode) -> dict[str, np.ndarray]:
        """Feature -> [T] or [T, n], in the order of `info.json`."""
        frames, numbers = len(episode), np.arange(len(episode))
        task = self._tasks.setdefault(episode.instructions[0], len(self._tasks))
        last = numbers == frames - 1
        columns = {STATE: episode.qpos} | {
            name: getattr(episode, name).reshape(frames, -1) for name in _VECTORS if name != STATE
        }
        columns |= {"perturbed": episode.perturbed, "next.reward": (last & episode.success).astype(np.float32)}
        columns |= {"next.done": last, "next.success": last & episode.success}
        columns |= {"timestamp": (numbers / self._fps).astype(np.float32), "frame_index": numbers}
        columns |= {"episode_index": np.full(frames, self.episodes), "index": self._frames + numbers}
        return columns | {"task_index": np.full(frames, task)}

    def _add_contacts(self, contacts: Contacts) -> None:
        fields = {name: [getattr(contacts, name).tolist()] for name in ("time", "kind", "arm", "event", "body")}
        fields |= {"point": [contacts.point.reshape(-1).tolist()], "body_poses": [contacts.body_poses.tobytes()]}
        table = pa.table({"episode_index": [self.episodes], **fields}, schema=_CONTACTS_SCHEMA)
        if self._contacts is None:
            (self._folder / CONTACTS).parent.mkdir(parents=True, exist_ok=True)
            self._contacts = pq.ParquetWriter(self._folder / CONTACTS, _CONTACTS_SCHEMA)
        self._contacts.write_table(table)  # a row group of its own, so that one episode can be read alone

    def _write_rows(self) -> None:
        if self._rows:
            chunk, file = self._rows_files.place()
            place = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
            self._rows_files.write(pa.Table.from_pylist([row | place for row in self._rows]))
            self._rows = []

    def _info(self) -> dict[str, Any]:
        features = {
            name: {"dtype": "float32", "shape": [len(names)], "names": names} for name, names in _VECTORS.items()
        }
        features |= {key: files.feature() for key, files in self._videos.items()}
        features |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _SCALARS.items()}
        return {
            "codebase_version": "v3.0",
            "fps": _whole(self._fps),
            "features": features,
            "total_episodes": self.episodes,
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "robot_type": "aloha-agilex",
            "splits": {"train": f"0:{self.episodes}"},
        }


_EPISODE_FIELDS = ("task", "setting", "seed", "success", "instructions", "contacts_recorded", "cameras_recorded")
_CONTACTS_SCHEMA = pa.schema(
    [
        ("episode_index", pa.int64()),
        *((name, pa.list_(pa.int32())) for name in ("time", "kind", "arm", "event", "body")),
        ("point", pa.list_(pa.float32())),
        ("body_poses", pa.binary()),
    ]
)


class _ParquetFiles:
    """Files of one kind, the next one when the last one is large enough. Every `write` is a row group."""

    def __init__(self, folder: Path, template: str) -> None:
        self._folder, self._template = folder, template
        self._number, self._writer, self._path = -1, None, folder

    def place(self) -> tuple[int, int]:
        """Chunk and file index of the file that the next `write` goes to."""
        if self._writer is not None and self._path.stat().st_size >= DATA_MB * 2**20:
            self.close()
        if self._writer is None:
            self._number += 1
        return divmod(self._number, CHUNK_SIZE)

    def write(self, table: pa.Table) -> None:
        """Appends rows, after `place`."""
        if self._writer is None:
            chunk, file = divmod(self._number, CHUNK_SIZE)
            self._path = self._folder / self._template.format(chunk_index=chunk, file_index=file)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="snappy")
        self._writer.write_table(table)

    def close(self) -> None:
        """Completes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _VideoFiles:
    """The videos of one camera, the next one when the last one is large enough."""

    def __init__(self, folder: Path, key: str, size: tuple[int, int], fps: float) -> None:
        self._folder, self._key, self.size, self._fps = folder, key, size, fps
        self._number, self._writer = -1, None

    def append(self, images: np.ndarray) -> dict[str, Any]:
        """Appends an episode [T, H, W, 3]; returns where it is."""
        if self._writer is not None and self._writer.size >= VIDEO_MB * 2**20:
            self.close()
        self._number += self._writer is None
        chunk, file = divmod(self._number, CHUNK_SIZE)
        if self._writer is None:
            path = self._folder / VIDEO_PATH.format(video_key=self._key, chunk_index=chunk, file_index=file)
            self._writer = VideoWriter(path, self.size, Fraction(self._fps).limit_denominator(1001))
        start = self._writer.frames
        self._writer.append(images)
        times = {"from_timestamp": start / self._fps, "to_timestamp": self._writer.frames / self._fps}
        return {"chunk_index": chunk, "file_index": file, **times}

    def close(self) -> None:
        """Completes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def feature(self) -> dict[str, Any]:
        """The entry of `info.json`."""
        height, width = self.size
        about = {"video.height": height, "video.width": width, "video.channels": 3, "video.fps": _whole(self._fps)}
        about |= {"video.codec": CODEC, "video.pix_fmt": PIXEL_FORMAT, "has_audio": False}
        return {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": about | {"is_depth_map": False},
        }


def _table(columns: Mapping[str, np.ndarray]) -> pa.Table:
    """Columns [T] and [T, n] as scalars and lists of fixed size."""
    arrays = {
        name: pa.array(values)
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1).astype(np.float32)), values.shape[1])
        for name, values in columns.items()
    }
    return pa.table(arrays)


def _whole(fps: float) -> int | float:
    return int(fps) if fps == int(fps) else fps


def _write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """The instructions, as pandas writes a frame whose index is their text: LeRobot's loader asks for that index."""
    name = "__index_level_0__"  # an index without a name, which older readers ask for, Rerun's among them
    table = pa.table({"task_index": [*tasks.values()], name: [*tasks]})
    index = {"name": None, "field_name": name, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    column = index | {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    about = {"index_columns": [name], "column_indexes": [], "columns": [column, index], "pandas_version": "2.0.0"}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(about)}), path)

"""RoboTwin's own episode files, in both layouts, and the contacts that they do not hold.

Main (since 2026; RoboTwin's `envs/utils/pkl2hdf5.py`, `scripts/process_data_xpolicylab.py`):
`<config>/<task>/<embodiment>/data/episode_0000000.hdf5`, joints under `state` and `action` (the next state), images
under `vision`, poses of the cameras to world in OpenGL axes. Legacy (branch `stable_2.0`):
`<task>/<config>/data/episode0.hdf5` beside `<task>/<config>/instructions/episode0.json`, joints under `joint_action`,
images under `observation`, poses of the world to cameras in OpenCV axes.

Both store drive targets, JPEGs (`EpisodeFile.images`) and a frame every 15 physics steps. Between two motions of the
expert there are two or three frames almost at the same time.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from aim_rl.data.episode import LEFT, RIGHT, Contacts, Episode
from aim_rl.data.hdf5 import EpisodeFile, world_to_camera_opencv
from envs import task_names
from envs.constants import ARMS, CAMERAS, CLOSED_COMMAND, OPEN_COMMAND, PICK, PLACE, QPOS_GRIPPER
from envs.errors import UserError
from envs.tabletop.kinematics import TOOL_OFFSET

DISK_CAMERA = {"head_camera": "cam_head", "left_camera": "cam_left_wrist", "right_camera": "cam_right_wrist"}
"""Names of the cameras in main's layout."""
OTHER_ROBOTS = ("franka", "panda", "arx", "piper", "ur5")
"""In the names of RoboTwin's other embodiments; some have 14 joint values, too."""
PHYSICS_STEPS_PER_FRAME = 15
"""`frequency` in main's layout: a stride, not Hz. It equals the environment's control step."""


def is_legacy(source: EpisodeFile) -> bool:
    """Whether a file is of the legacy layout; if not, it is of main's.

    Raises:
        UserError: it is of neither.
    """
    if "joint_action" in source:
        return True
    if "state" in source:
        return False
    raise UserError(
        f"{source.path} has no field state (as `python -m aim_rl.collect` and RoboTwin's main branch write) nor "
        "joint_action (as stable_2.0 writes); it is no episode that can be read."
    )


def task_of(path: Path) -> str:
    """The task of a RoboTwin file, which only its folders name: `<task>/<embodiment or config>/data/<file>`.

    Raises:
        UserError: there are no such folders above the file, or they name no task.
    """
    task = _folders(path)[2].name
    if task not in task_names():
        raise UserError(
            f"{path}: only its folders name a RoboTwin episode's task, and {task!r} is none; keep it in "
            "TASK/CONFIG/data/ (older files) or CONFIG/TASK/EMBODIMENT/data/."
        )
    return task


def _folders(path: Path) -> list[Path]:
    """The folders above an episode: `data`, `<embodiment>` or (legacy) `<config>`, `<task>`, (main) `<config>`."""
    folders = list(Path(os.path.abspath(path)).parents)
    if len(folders) < 4:
        raise UserError(f"{path}: only its folders name a RoboTwin episode's task; keep it in TASK/CONFIG/data/.")
    return folders


def read_main(source: EpisodeFile) -> Episode:
    """Reads an episode of main's layout as RoboTwin writes it. It has contacts only if `aim_rl.label` added them.

    Raises:
        UserError: a field is missing or wrong, or a folder names another robot.
    """
    return _episode(main_fields(source), source, setting=_folders(source.path)[3].name)


def main_fields(source: EpisodeFile) -> dict[str, Any]:
    """The fields of an `Episode` that main's layout holds.

    Raises:
        UserError: a field is missing, the format is of another version, or frames are not one control step apart.
    """
    version = source.text("data_format_version").removeprefix("v") if "data_format_version" in source else "1"
    if version.split(".")[0] != "1":
        raise UserError(f"{source.path} has data_format_version {version}; only version 1 can be read.")
    stride = source.array("additional_info/frequency").item()
    if stride != PHYSICS_STEPS_PER_FRAME:
        raise UserError(
            f"{source.path} has a frame every {stride} physics steps, and a control step here takes "
            f"{PHYSICS_STEPS_PER_FRAME}; record it again with save_freq: {PHYSICS_STEPS_PER_FRAME}."
        )
    fields: dict[str, Any] = {}
    for camera in CAMERAS:
        group = f"vision/{DISK_CAMERA[camera]}"
        # The two writers of RoboTwin's main branch spell this field differently.
        converted = f"{group}/extrinsic_matrix" in source
        pose = source.array(f"{group}/{'extrinsic_matrix' if converted else 'extrinsics_matrix'}")
        fields[camera] = source.images(f"{group}/colors")
        fields[f"{camera}_intrinsic"] = source.floats(f"{group}/intrinsic_matrix")
        fields[f"{camera}_extrinsic"] = world_to_camera_opencv(pose)
    for name, group in (("qpos", "state"), ("action", "action")):
        parts = [f"{group}/{side}_{part}_joint_states" for side in ("left", "right") for part in ("arm", "ee")]
        fields[name] = np.concatenate([source.floats(part) for part in parts], axis=-1)
    for side in ("left", "right"):
        fields[f"{side}_endpose"] = source.floats(f"state/{side}_ee_poses")
    stored = source.array("instructions")
    value = [text.decode() for text in stored.tolist()] if stored.ndim else json.loads(stored.item())
    return fields | {"instructions": _instructions(value, source.path)}


def read_legacy(source: EpisodeFile) -> Episode:
    """Reads an episode of the legacy layout, as `read_main`; the last frame has no action and is dropped.

    Raises:
        UserError: a field or the file of instructions is missing or wrong, or a folder names another robot.
    """
    fields: dict[str, Any] = {}
    for camera in CAMERAS:
        group = f"observation/{camera}"
        fields[camera] = source.images(f"{group}/rgb")[:-1]
        fields[f"{camera}_intrinsic"] = source.floats(f"{group}/intrinsic_cv")[:-1]
        fields[f"{camera}_extrinsic"] = source.floats(f"{group}/extrinsic_cv")[:-1]
    vector = source.floats("joint_action/vector")
    fields |= {"qpos": vector[:-1], "action": vector[1:]}
    for side in ("left", "right"):
        fields[f"{side}_endpose"] = source.floats(f"endpose/{side}_endpose")[:-1]
    fields["instructions"] = _instructions(_read_json(instructions_beside(source.path)), source.path)
    return _episode(fields, source, setting=_folders(source.path)[1].name)


def instructions_beside(path: Path) -> Path:
    """Where the legacy layout keeps the instructions of an episode."""
    return path.parent.parent / "instructions" / f"{path.stem}.json"


def _episode(fields: dict[str, Any], source: EpisodeFile, setting: str) -> Episode:
    qpos, path = fields["qpos"], source.path
    robot = _folders(path)[1].name  # in main's layout; in the legacy one a configuration such as arx-x5_clean_50
    if any(name in robot.lower() for name in OTHER_ROBOTS):
        raise UserError(f"{path} is of the robot {robot}; only episodes of aloha-agilex can be read.")
    if qpos.shape[1:] != (14,):
        raise UserError(
            f"{path} is of a robot with {qpos.shape[-1]} joint values; only episodes of aloha-agilex, with 14, can be "
            "read: record with that embodiment."
        )
    return Episode(
        **fields,
        qpos_measured=qpos,
        perturbed=np.zeros(len(qpos), bool),
        contacts=recorded_contacts(source) if "contacts" in source else Contacts.empty(len(qpos)),
        contacts_recorded="contacts" in source,
        task=task_of(path),
        setting=setting,
        seed=-1,
    )


def recorded_contacts(source: EpisodeFile) -> Contacts:
    """The group `contacts`, which RoboTwin does not write. Raises UserError: a field is missing."""
    return Contacts(**{name: source.array(f"contacts/{name}") for name in Contacts.__dataclass_fields__})


def seed_of(path: Path) -> int:
    """The seed of an episode that RoboTwin recorded; its `seed.txt`, beside `data`, lists them in order.

    Raises:
        UserError: there is no such list, or it does not reach so far.
    """
    seeds, name = path.parent.parent / "seed.txt", re.search(r"\d+", path.stem)
    number = int(name[0]) if name else 0
    try:
        return int(seeds.read_text().split()[number])
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not say its seed, and there is no {seeds}; copy the one that RoboTwin wrote beside `data`."
        ) from error
    except (IndexError, ValueError) as error:
        raise UserError(f"{seeds} has no seed for episode {number}; copy the one that RoboTwin wrote.") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"There is no {path}, where this layout keeps an episode's instructions; write it with RoboTwin's "
            "description/gen_episode_instructions.sh."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON; write it again with description/gen_episode_instructions.sh.") from error


def _instructions(value: Any, path: Path) -> list[str]:
    """The distinct instructions to train on: of a list, or RoboTwin's {"seen": [...], "unseen": [...]}."""
    seen = value.get("seen") if isinstance(value, dict) else value
    texts = [text for text in seen if isinstance(text, str) and text] if isinstance(seen, list) else []
    if not texts:
        raise UserError(f"{path} comes with no instruction; write some with description/gen_episode_instructions.sh.")
    return list(dict.fromkeys(texts))


def gripper_contacts(episode: Episode) -> Contacts:
    """Picks and places derived from the gripper commands, for an episode without recorded contacts.

    A gripper that closes picks at its tool centre, and one that opens again places there, at the first frame after the
    change. What was touched is unknown, so the points are fixed in the world, a place lies in the hand instead of below
    the object, and a hand that closes on nothing (before a press) counts as a pick.
    """
    frames = len(episode)
    # What the last action brings about has no frame of its own; as in `aim_rl.collect`, it counts for the last one.
    commands = np.concatenate([episode.qpos, episode.action[-1:]])
    events = [
        (min(frame, frames - 1), kind, arm)
        for arm in (LEFT, RIGHT)
        for frame, kind in _closings_and_openings(commands[:, QPOS_GRIPPER[ARMS[arm]]])
    ]
    if not events:
        return Contacts.empty(frames)
    time, kind, arm = (np.array(column) for column in zip(*sorted(events), strict=True))
    pose = np.stack([episode.left_endpose, episode.right_endpose])[arm, time]
    w, x, y, z = pose[:, 3:].T
    forward = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=-1)
    origin = np.zeros((1, frames, 7), np.float32)
    origin[..., 3] = 1.0
    return Contacts(
        point=(pose[:, :3] + TOOL_OFFSET * forward).astype(np.float32),
        time=time.astype(np.int32),
        kind=kind.astype(np.uint8),
        arm=arm.astype(np.uint8),
        event=np.arange(len(events), dtype=np.int32),
        body=np.zeros(len(events), np.int32),
        body_poses=origin,
    )


def _closings_and_openings(gripper: np.ndarray) -> list[tuple[int, int]]:
    """(frame, PICK or PLACE) of the turns of one gripper's commands [T]; a place needs a pick before it."""
    events: list[tuple[int, int]] = []
    closed = gripper[0] < CLOSED_COMMAND
    for frame, command in enumerate(gripper):
        if not closed and command < CLOSED_COMMAND:
            closed = True
            events.append((frame, PICK))
        elif closed and command > OPEN_COMMAND:
            closed = False
            if events:
                events.append((frame, PLACE))
    return events

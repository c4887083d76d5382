"""Adds the contacts that RoboTwin's files lack: its expert repeats each episode while the simulator is watched."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np

from aim_rl.data.demonstrate import gather_contacts
from aim_rl.data.episode import Episode
from aim_rl.data.files import add_contacts, episode_paths, read_episode, read_header
from aim_rl.data.robotwin import seed_of
from aim_rl.runs.folder import check_writable
from aim_rl.runs.progress import progress
from envs.errors import UserError
from envs.robotwin.env import RoboTwinEnv
from envs.robotwin.recording import watch

TOLERANCE = 0.01  # rad (or share of the gripper's range) between recorded and repeated joints: 5 mm at the gripper


def label_episode(env: RoboTwinEnv, path: Path, episode: Episode, seed: int) -> None:
    """Repeats one recording and adds its contacts to the file.

    Raises:
        UserError: RoboTwin's expert does not repeat it.
    """
    recording = env.record_expert(seed, as_recorded=True)
    recorded = np.concatenate([episode.qpos, episode.action[-1:]])
    repeated = np.array([frame["qpos"] for frame in recording.frames]).reshape(-1, 14)
    if len(recorded) != len(repeated):
        how = f"takes {len(repeated)} frames instead of {len(recorded)}"
    elif (error := float(np.abs(recorded - repeated).max())) > TOLERANCE:
        how = f"moves a joint by up to {error:.3f} rad elsewhere"
    else:
        recorder = watch(recording)
        add_contacts(path, gather_contacts(recorder.events(), recorder.poses, len(episode)))
        return
    raise UserError(
        f"RoboTwin's expert does not repeat {path} on seed {seed}: it {how}; take the version, the configuration and "
        "the embodiment that recorded it"
    )


def label(data: Path, robotwin_root: Path, robotwin_python: Path) -> tuple[int, list[UserError]]:
    """Labels the episodes without contacts; returns how many were labelled, and the errors of the others.

    Args:
        data: folder of the episodes.
        robotwin_root: the RoboTwin checkout that recorded them.
        robotwin_python: the Python that RoboTwin was installed into.

    Raises:
        UserError: there is nothing to label, an episode's seed is unknown, or RoboTwin cannot be run.
    """
    todo = [path for path in episode_paths(data) if not read_header(path).contacts_recorded]
    if not todo:
        raise UserError(f"every episode in {data} has its contacts already; there is nothing to label")
    seeds = {path: seed_of(path) for path in todo}
    check_writable(todo[0])
    labelled, errors = 0, list[UserError]()
    with progress("label", len(todo), "episodes") as bar:
        for _, group in itertools.groupby(todo, lambda path: path.parent):
            paths = list(group)
            first = read_episode(paths[0])  # a folder holds one task and configuration
            arguments = (first.task, robotwin_root, robotwin_python, first.setting)
            with contextlib.closing(RoboTwinEnv(*arguments, cameras=())) as env:  # no rendering
                for path in paths:
                    try:
                        label_episode(env, path, read_episode(path), seeds[path])
                        labelled += 1
                    except UserError as error:
                        errors.append(error)
                    bar.update(labelled + len(errors), f"{len(errors)} not repeated")
    return labelled, errors

"""Adds contacts to episodes that RoboTwin recorded: `python -m aim_rl.label --data DIR --robotwin-root ROOT ...`.

RoboTwin's files say nothing of what touched what, so that Stage I reads its picks and places off the grippers. This
command lets RoboTwin's expert repeat each recorded seed (`seed.txt`), checks that it moves as recorded, and writes the
contacts that the simulator had into the file. Files that have contacts are left alone: a run that was stopped goes on.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from aim_rl.data.demonstrate import gather_contacts
from aim_rl.data.episode import Episode
from aim_rl.data.files import add_contacts, episode_paths, read_episode, read_header
from aim_rl.data.robotwin import seed_of
from aim_rl.runs.folder import check_writable
from aim_rl.runs.progress import progress
from envs.errors import UserError, exit_cleanly
from envs.robotwin.env import RoboTwinEnv
from envs.robotwin.recording import watch

TOLERANCE = 0.01  # rad (and of a gripper's way) between a recorded joint and the repeated one: 5 mm at the gripper


@dataclass
class LabelConfig:
    """Adds contacts to RoboTwin's own episodes."""

    data: Path
    """Folder of the episodes, or one above it."""
    robotwin_root: Path
    """The RoboTwin checkout, of the version that recorded them."""
    robotwin_python: Path
    """The Python that RoboTwin was installed into."""


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


def label(config: LabelConfig) -> tuple[int, list[UserError]]:
    """Labels what has no contacts yet; returns how many episodes that were, and what went wrong with others.

    Raises:
        UserError: there is nothing to label, an episode's seed is not known, or RoboTwin cannot be run.
    """
    todo = [path for path in episode_paths(config.data) if not read_header(path).contacts_recorded]
    if not todo:
        raise UserError(f"every episode in {config.data} has its contacts already; there is nothing to label")
    seeds = {path: seed_of(path) for path in todo}
    check_writable(todo[0])
    labelled, errors = 0, list[UserError]()
    with progress("label", len(todo), "episodes") as bar:
        for _, group in itertools.groupby(todo, lambda path: path.parent):
            paths = list(group)
            first = read_episode(paths[0])  # those of a folder are of one task and configuration
            arguments = (first.task, config.robotwin_root, config.robotwin_python, first.setting)
            with contextlib.closing(RoboTwinEnv(*arguments, cameras=())) as env:  # so that nothing is rendered
                for path in paths:
                    try:
                        label_episode(env, path, read_episode(path), seeds[path])
                        labelled += 1
                    except UserError as error:
                        errors.append(error)
                    bar.update(labelled + len(errors), f"{len(errors)} not repeated")
    return labelled, errors


def main() -> None:
    config = tyro.cli(LabelConfig, description=__doc__)
    labelled, errors = label(config)
    print(f"{labelled} episodes in {config.data} have got their contacts")
    if errors:
        raise UserError(f"{len(errors)} episodes were not labelled; the first: {errors[0]}")


if __name__ == "__main__":
    exit_cleanly(main)

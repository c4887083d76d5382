"""Demonstrations of a simulator's expert as episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aim_rl.data.episode import Contacts, Episode
from envs.base import TaskEnv
from envs.contacts import Event


def demonstrate(env: TaskEnv, seed: int, setting: str) -> Episode | None:
    """One episode of the expert, or None if it did not succeed.

    Args:
        env: its cameras have the size that the episode records.
        seed: of the scene.
        setting: "clean" or "randomized", what `env` was made with.

    Raises:
        FloatingPointError: the simulator observes NaN or infinity.
    """
    demonstration = env.demonstrate(seed)
    if demonstration is None:
        return None
    observations: dict[str, Any] = demonstration.observations
    return Episode(
        **observations,
        action=demonstration.action,
        perturbed=demonstration.perturbed,
        instructions=env.instructions_by_split[env.instruction_split],
        contacts=gather_contacts(demonstration.events, demonstration.body_poses, len(demonstration.action)),
        task=env.task_name,
        setting=setting,
        seed=seed,
    )


def gather_contacts(
    events: Sequence[Event], poses: Mapping[str, Sequence[NDArray[np.floating]]], frames: int
) -> Contacts:
    """Events as the arrays of an episode.

    Args:
        events: points in the frames of their bodies; an event after the last frame counts for the last.
        poses: body -> its pose [7] (xyz m, wxyz; world) at every frame.
        frames: of the episode.
    """
    if not events:
        return Contacts.empty(frames)
    bodies = sorted({event.body for event in events})
    counts = [len(event.points) for event in events]

    def spread(values: list[int], dtype: type) -> NDArray[np.generic]:
        return np.repeat(np.array(values, dtype), counts)

    return Contacts(
        point=np.concatenate([event.points for event in events]).astype(np.float32),
        time=spread([min(event.frame, frames - 1) for event in events], np.int32),
        kind=spread([event.kind for event in events], np.uint8),
        arm=spread([event.arm for event in events], np.uint8),
        event=spread(list(range(len(events))), np.int32),
        body=spread([bodies.index(event.body) for event in events], np.int32),
        body_poses=np.array([poses[body][:frames] for body in bodies], np.float32),
    )

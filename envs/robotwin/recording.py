"""What RoboTwin's expert did, frame by frame, as a scene that `envs.contacts.ContactRecorder` watches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.base import Observation
from envs.contacts import Contact, ContactRecorder


@dataclass(frozen=True)
class ExpertRecording:
    """What `RoboTwinEnv.record_expert` saw."""

    frames: list[Observation]
    """Observations, each with `body_poses` f32 [bodies, 7] (xyz m, wxyz, world), `body_speed` f32 [bodies] (m/s),
    `contact_points` f32 [n, 3] (m, world) and `contact_bodies` i32 [n, 2], the two bodies of each point."""
    bodies: list[str]
    """Names; the fingers are left_finger0, left_finger1, right_finger0 and right_finger1."""
    links: list[str]
    """Those that are moving parts of articulated bodies: doors, drawers, lids, levers."""
    success: bool


@dataclass(frozen=True)
class _Pose:
    p: NDArray[np.floating]
    q: NDArray[np.floating]


@dataclass
class _Body:
    is_link: bool
    pose: _Pose | None = None  # until a frame is shown
    speed: float = 0.0


class _Frame:
    """One frame: bodies and contacts."""

    def __init__(self, names: list[str], links: list[str]) -> None:
        self.names = names
        self.bodies = {name: _Body(name in links) for name in names if "_finger" not in name}

    def show(self, frame: Observation) -> None:
        for name, pose, speed in zip(self.names, frame["body_poses"], frame["body_speed"], strict=True):
            if name in self.bodies:
                body = self.bodies[name]
                body.pose, body.speed = _Pose(pose[:3], pose[3:]), float(speed)
        pairs = np.sort(frame["contact_bodies"], axis=1)
        self._contacts = [
            Contact(self.names[a], self.names[b], frame["contact_points"][(pairs == (a, b)).all(1)])
            for a, b in np.unique(pairs, axis=0)
        ]

    def contacts(self) -> list[Contact]:
        return self._contacts


def watch(recording: ExpertRecording) -> ContactRecorder:
    """A contact recorder that has seen every frame of a recording."""
    scene = _Frame(recording.bodies, recording.links)
    recorder = ContactRecorder(scene)
    for frame in recording.frames:
        scene.show(frame)
        recorder.record()
    return recorder

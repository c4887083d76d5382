"""A demonstration of RoboTwin's expert as the scene that `envs.tabletop.contacts` watches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.robotwin.env import Demonstration, Observation
from envs.tabletop.contacts import ContactRecorder
from envs.tabletop.scene import Contact


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


def watch(demonstration: Demonstration) -> ContactRecorder:
    """A recorder that has seen every frame of a demonstration."""
    scene = _Frame(demonstration.bodies, demonstration.links)
    recorder = ContactRecorder(scene)
    for frame in demonstration.frames:
        scene.show(frame)
        recorder.record()
    return recorder

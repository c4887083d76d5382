"""Interaction events of an episode, from the simulator's contacts: where grasps, placements and presses were.

Rules (docs/method.md, "Value-map labels"):

- pick: the contact points of the fingers at the first frame of a grasp that moves the object, or that takes it over
  from the other arm.
- place: the contact points between object and support once the object rests there; and those of the first piece that
  a held container pours out, where it lands.
- press: the contact points of closed fingers, or of a held tool, on a fixed body; and those of fingers on a lid, door,
  drawer or lever at the frame in which it begins to move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.constants import ARMS, PICK, PLACE, PRESS, other_arm

Array = NDArray[np.floating]

MIN_MOTION = 0.01  # m: a grasp counts when it moved the object, a touch when it moved the link
MIN_LINK_MOTION = 0.002  # m: a link has begun to move
MAX_GAP = 3  # frames without contact that do not end a grasp
REST_SPEED = 0.03  # m/s
REST_WAIT = 25  # frames after a release in which the object should come to rest
FURNITURE = ("table", "wall")


@dataclass(frozen=True)
class Contact:
    """One contact between two bodies named `a` and `b`: points [n, 3] (m, world)."""

    a: str
    b: str
    points: Array


@dataclass(frozen=True)
class Event:
    """One interaction. Points [n, 3] (m) in the frame of `body`; `frame` counts control steps from the start."""

    kind: int
    frame: int
    arm: int
    body: str
    points: Array


@dataclass
class _Frame:
    """What was read at one control step."""

    fingers: dict[tuple[str, str], tuple[int, Array]]  # (arm, body) -> fingers that touch it, contact points
    touches: dict[tuple[str, str], Array]  # (body, other body), both orders -> contact points
    speed: dict[str, float]


class Watched(Protocol):
    """What the recorder reads of a scene: of the tabletop, or of a frame of a RoboTwin demonstration."""

    @property
    def bodies(self) -> Mapping[str, Any]:
        """Bodies by name, each with `pose` (p, q), `speed` (m/s) and `is_link` (part of an articulated body)."""
        ...

    def contacts(self) -> list[Contact]:
        """Contacts that carry an impulse; fingers are called left_finger..., right_finger..."""
        ...


class ContactRecorder:
    """Watches a scene frame by frame and turns contacts into events at the end of the episode."""

    def __init__(self, scene: Watched) -> None:
        self._scene = scene
        self._bodies = [name for name in scene.bodies if not name.startswith("clutter")]
        self._links = {name for name in self._bodies if scene.bodies[name].is_link}
        self._frames: list[_Frame] = []
        self.poses: dict[str, list[Array]] = {name: [] for name in self._bodies}

    def record(self) -> None:
        """Reads contacts and poses of the current frame; call it once per frame, from the initial state on."""
        fingers: dict[tuple[str, str], tuple[int, Array]] = {}
        touches: dict[tuple[str, str], Array] = {}
        seen: dict[tuple[str, str], set[str]] = {}
        for contact in self._scene.contacts():
            for a, b in ((contact.a, contact.b), (contact.b, contact.a)):
                if b not in self.poses:
                    continue
                if "_finger" in a:
                    key = (a.split("_")[0], b)
                    seen.setdefault(key, set()).add(a)
                    before = fingers[key][1] if key in fingers else np.zeros((0, 3))
                    fingers[key] = (len(seen[key]), np.concatenate([before, contact.points]))
                elif a in self.poses:  # two bodies have one contact per pair of their shapes
                    before = [touches[a, b]] if (a, b) in touches else []
                    touches[a, b] = np.concatenate([*before, contact.points])
        for name, poses in self.poses.items():
            pose = self._scene.bodies[name].pose
            poses.append(np.concatenate([pose.p, pose.q]))
        speed = {name: self._scene.bodies[name].speed for name in self._bodies}
        self._frames.append(_Frame(fingers, touches, speed))

    def events(self) -> list[Event]:
        """All events of the recorded frames, ordered by frame."""
        found: list[Event] = []
        for arm in ARMS:
            for body in self._bodies:
                if body in FURNITURE:
                    continue
                if body in self._links:
                    found += self._moves_link(arm, body)
                    continue
                for start, end in self._grasps(arm, body):
                    if self._moved(body, start, end) or self._takes_over(arm, body, start, end):
                        found += self._grasp(arm, body, start, end)
                if not self._moved(body, 0, len(self._frames) - 1):
                    found += self._presses(arm, body)
        return sorted(found, key=lambda event: event.frame)

    def touched(self) -> dict[str, int]:
        """Body -> the first frame in which a finger touches it; furniture left out."""
        first: dict[str, int] = {}
        for index, frame in enumerate(self._frames):
            for _, body in frame.fingers:
                if body not in FURNITURE:
                    first.setdefault(body, index)
        return first

    def _spans(self, holds: Callable[[_Frame], bool]) -> list[tuple[int, int]]:
        """Frame ranges (first, last) in which a condition holds, gaps of up to MAX_GAP frames bridged."""
        frames = [i for i, frame in enumerate(self._frames) if holds(frame)]
        spans: list[tuple[int, int]] = []
        for i in frames:
            if spans and i - spans[-1][1] <= MAX_GAP + 1:
                spans[-1] = (spans[-1][0], i)
            else:
                spans.append((i, i))
        return spans

    def _grasps(self, arm: str, body: str) -> list[tuple[int, int]]:
        """Frame ranges in which both fingers of an arm touch a body."""
        return self._spans(lambda f: f.fingers.get((arm, body), (0,))[0] >= 2)

    def _takes_over(self, arm: str, body: str, start: int, end: int) -> bool:
        """Whether the other arm held the body when a grasp began, and released it during the grasp."""
        grasps = self._grasps(other_arm(arm), body)
        return any(first < start <= last < end for first, last in grasps)

    def _moved(self, body: str, start: int, end: int) -> bool:
        """Whether a body got more than MIN_MOTION away from where it was at frame `start`, by frame `end`."""
        path = np.array(self.poses[body][start : end + 1])[:, :3]
        return bool(np.linalg.norm(path - path[0], axis=1).max() > MIN_MOTION)

    def _grasp(self, arm: str, body: str, start: int, end: int) -> list[Event]:
        """The pick that begins a grasp, and the place, pour or tool press that it leads to."""
        index = ARMS.index(arm)
        points = self._frames[start].fingers[arm, body][1]
        events = [Event(PICK, start, index, body, self._local(body, start, points))]
        places = [place for place in (self._place(arm, body, end), self._pour(arm, body, start, end)) if place]
        events += places
        supports = {place.body for place in places}
        for other in self._bodies:
            if other in FURNITURE or other in supports or self._moved(other, 0, len(self._frames) - 1):
                continue
            for first, _ in self._spans(lambda f, key=(body, other): key in f.touches):
                if start < first <= end:
                    points = self._frames[first].touches[body, other]
                    events.append(Event(PRESS, first, index, other, self._local(other, first, points)))
        return events

    def _place(self, arm: str, body: str, end: int) -> Event | None:
        """The placement after a grasp that ended at frame `end`, if the body came to rest on a support.

        A body that still swings or rolls after REST_WAIT frames is placed where it is then.
        """
        last = end + REST_WAIT - 1
        for frame in range(end, min(last + 1, len(self._frames))):
            state = self._frames[frame]
            if (other_arm(arm), body) in state.fingers:
                return None  # handed over
            if (arm, body) in state.fingers or (state.speed[body] > REST_SPEED and frame < last):
                continue
            for support in self._bodies:
                if support != "wall" and (body, support) in state.touches:
                    points = self._local(support, frame, state.touches[body, support])
                    return Event(PLACE, min(end + 1, frame), ARMS.index(arm), support, points)
        return None

    def _pour(self, arm: str, body: str, start: int, end: int) -> Event | None:
        """Where the first piece from a held container lands; the event has the frame in which it left the container."""
        cargo = self._cargo(body, start)
        landings: list[tuple[int, int, str, str]] = []
        for piece in cargo:
            touched = [i for i in range(start, end + 1) if (piece, body) in self._frames[i].touches]
            left = max(touched, default=start)
            if not self._moved(piece, start, left):
                continue
            landings += [
                (frame, left, piece, support)
                for frame in range(left + 1, min(left + REST_WAIT, len(self._frames)))
                for a, support in self._frames[frame].touches
                if a == piece and support not in (body, *cargo)
            ]
        if not landings:
            return None
        frame, left, piece, support = min(landings)
        points = self._local(support, frame, self._frames[frame].touches[piece, support])
        return Event(PLACE, left, ARMS.index(arm), support, points)

    def _cargo(self, body: str, frame: int) -> list[str]:
        """All that lies in a container: what touches it at a frame, and what touches that, and so on."""
        touches, found = self._frames[frame].touches, [body]
        for carrier in found:  # the loop also visits what it appends
            found += [a for a, b in touches if b == carrier and a not in (*found, *FURNITURE)]
        return found[1:]

    def _presses(self, arm: str, body: str) -> list[Event]:
        """Presses on a body that never moves: each new touch, unless the arm holds a body or has just placed it."""
        spans = self._spans(lambda f, key=(arm, body): key in f.fingers)
        held = [
            span
            for other in self._bodies
            if other not in (body, *FURNITURE)
            for span in self._grasps(arm, other)
            if self._moved(other, *span)
        ]
        return [
            Event(PRESS, i, ARMS.index(arm), body, self._local(body, i, self._frames[i].fingers[arm, body][1]))
            for i, _ in spans
            if not any(start <= i <= end + REST_WAIT for start, end in held)
        ]

    def _moves_link(self, arm: str, body: str) -> list[Event]:
        """Presses on the moving part of an articulated body, each at the frame in which the part begins to move."""
        events = []
        for start, end in self._spans(lambda f, key=(arm, body): key in f.fingers):
            point = self._local(body, start, self._frames[start].fingers[arm, body][1]).mean(0)
            path = np.array([to_world(self.poses[body][frame], point) for frame in range(start, end + 1)])
            distance = np.linalg.norm(path - path[0], axis=1)
            if distance.max() > MIN_MOTION:
                begin = start + int(np.argmax(distance > MIN_LINK_MOTION))
                frame = max(i for i in range(start, begin + 1) if (arm, body) in self._frames[i].fingers)
                points = self._local(body, frame, self._frames[frame].fingers[arm, body][1])
                events.append(Event(PRESS, frame, ARMS.index(arm), body, points))
        return events

    def _local(self, body: str, frame: int, points: Array) -> Array:
        """World points [n, 3] in the frame of a body, at its pose of `frame`."""
        pose = self.poses[body][frame]
        w, v = pose[3], pose[4:7]
        shifted = points - pose[:3]
        # rotation by the inverse quaternion: p' = p - 2w (v x p) + 2 v x (v x p)
        cross = np.cross(v, shifted)
        return shifted - 2 * w * cross + 2 * np.cross(v, cross)


def to_world(pose: Array, point: Array) -> Array:
    """World position of a point [3] (m) in the frame of a body at `pose` [7] (xyz, wxyz)."""
    w, v = pose[3], pose[4:7]
    cross = np.cross(v, point)
    return pose[:3] + point + 2 * w * cross + 2 * np.cross(v, cross)

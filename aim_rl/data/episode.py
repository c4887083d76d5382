"""One recorded episode in memory (`aim_rl.data.files` reads and writes it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.constants import CONTROL_STEP

LEFT, RIGHT = 0, 1
FPS = round(1 / CONTROL_STEP)
"""Frames per second of an episode with a frame per control step: 16.7, but LeRobot's format has whole numbers."""


@dataclass(frozen=True)
class Header:
    """What a short look at an episode on disk shows."""

    frames: int
    task: str
    contacts_recorded: bool
    success: bool = True
    fps: float = FPS
    """Frames per second; RoboTwin's layouts have a frame per control step."""


@dataclass
class Contacts:
    """Interaction points of an episode (docs/method.md, "Value-map labels").

    Points are in the frame of the body they lie on (the object for a pick, the support for a place, the button for a
    press), so that they move with it before the event. If the body is unknown, its pose is the identity.
    """

    point: np.ndarray
    """f32 [N, 3], m, in the frame of the point's body."""
    time: np.ndarray
    """i32 [N], frame of the event in 0..T-1."""
    kind: np.ndarray
    """u8 [N], 0 pick, 1 place, 2 press."""
    arm: np.ndarray
    """u8 [N], 0 left, 1 right."""
    event: np.ndarray
    """i32 [N], points of one event share it."""
    body: np.ndarray
    """i32 [N], row of `body_poses`."""
    body_poses: np.ndarray
    """f32 [bodies, T, 7], xyz (m) and wxyz of each body in the world at every frame."""

    def world(self, points: int | np.ndarray, time: int | np.ndarray) -> np.ndarray:
        """World positions [..., 3] (m) of the points numbered `points` at the frames `time`.

        The two index arrays broadcast: `world(np.arange(n), t)` is [n, 3], `world(i, times)` is [F, 3].
        """
        return _placed(self.point[points], self.body_poses[self.body[points], time])

    def to_world(self, points: np.ndarray, body: int, times: np.ndarray) -> np.ndarray:
        """World positions [F, M, 3] (m) at the frames `times` of points [M, 3] in the frame of a body."""
        return _placed(points, self.body_poses[body, times][:, None])

    @classmethod
    def empty(cls, frames: int) -> Contacts:
        """No events in an episode of `frames` frames."""
        integer, byte = np.zeros(0, np.int32), np.zeros(0, np.uint8)
        poses = np.zeros((0, frames, 7), np.float32)
        return cls(np.zeros((0, 3), np.float32), integer, byte, byte, integer, integer, poses)


def _placed(point: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Points [..., 3] of bodies with poses [..., 7] (xyz, wxyz): Rodrigues' rotation by a unit quaternion."""
    axis, w = pose[..., 4:7], pose[..., 3:4]
    twice = 2.0 * np.cross(axis, point)
    return pose[..., :3] + point + w * twice + np.cross(axis, twice)


@dataclass
class Episode:
    """T frames, named and shaped like the environment's observation, stacked over time.

    Frame t is what was observed before `action[t]`. Intrinsics are in pixels of the images as stored here;
    extrinsics are world to camera, OpenCV axes.
    """

    head_camera: np.ndarray
    """u8 [T, H, W, 3], RGB."""
    left_camera: np.ndarray
    right_camera: np.ndarray
    head_camera_intrinsic: np.ndarray
    """f32 [T, 3, 3], px."""
    left_camera_intrinsic: np.ndarray
    right_camera_intrinsic: np.ndarray
    head_camera_extrinsic: np.ndarray
    """f32 [T, 3, 4], m."""
    left_camera_extrinsic: np.ndarray
    right_camera_extrinsic: np.ndarray
    qpos: np.ndarray
    """f32 [T, 14], drive targets: left 6 joints (rad), left gripper (0..1), right 6, right gripper."""
    qpos_measured: np.ndarray
    """f32 [T, 14], measured, same order; `qpos` again where nothing was measured (RoboTwin's files)."""
    left_endpose: np.ndarray
    """f32 [T, 7], xyz (m) and wxyz, world."""
    right_endpose: np.ndarray
    action: np.ndarray
    """f32 [T, 14], absolute joint targets given at frame t, in the order of `qpos`."""
    perturbed: np.ndarray
    """bool [T], the command at frame t was perturbed on purpose and must not be imitated."""
    instructions: list[str]
    """At least one instruction; all are right for this episode."""
    contacts: Contacts
    task: str
    setting: str
    """clean or randomized; for RoboTwin's files the folder named after their configuration."""
    seed: int
    """Of the scene; -1 if unknown (RoboTwin's files)."""
    success: bool = True
    contacts_recorded: bool = True
    """False if `contacts` was derived from the grippers."""
    cameras_recorded: bool = True
    """False if intrinsics and extrinsics are the robot's constants (LeRobot folders of others)."""

    def __len__(self) -> int:
        return len(self.qpos)

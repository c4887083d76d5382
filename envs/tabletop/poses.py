"""SAPIEN's poses: position (m) and unit quaternion wxyz.

SAPIEN converts between quaternions and matrices in single precision. Another library's last digit would differ, and
physics in contact makes another outcome of it, so everything that reaches the simulator is converted here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sapien
from numpy.typing import NDArray

Array = NDArray[np.floating]


def make_pose(position: Any, quaternion: Any = (1.0, 0.0, 0.0, 0.0)) -> sapien.Pose:
    """A pose from arrays of any float type (SAPIEN's stubs admit float32 only): position (m), quaternion wxyz."""
    return sapien.Pose(position, quaternion)


def quat_from_matrix(rotation: Array) -> Array:
    """Unit quaternion wxyz [4] of a rotation matrix [3, 3]."""
    homogeneous = np.eye(4)
    homogeneous[:3, :3] = rotation
    return np.asarray(sapien.Pose(homogeneous).q)


def matrix_from_quat(quaternion: Any) -> Array:
    """Rotation matrix [3, 3] of a quaternion wxyz [4]."""
    return make_pose([0, 0, 0], quaternion).to_transformation_matrix()[:3, :3]


def half_turn_about_x(quaternion: Any) -> Array:
    """Quaternion wxyz of R(q) diag(1, -1, -1): a half turn about the local x axis."""
    w, x, y, z = quaternion
    return np.array([-x, w, z, -y])


def moved(pose: sapien.Pose, shift: NDArray[np.float64], rotvec: NDArray[np.float64]) -> sapien.Pose:
    """A pose shifted by `shift` (m, world) and turned by the world-frame rotation vector `rotvec` (rad)."""
    angle = float(np.linalg.norm(rotvec))
    axis = rotvec / angle if angle > 1e-9 else np.array([1.0, 0.0, 0.0])
    turn = make_pose([0, 0, 0], np.append(np.cos(angle / 2), np.sin(angle / 2) * axis))
    rotation = matrix_from_quat(turn.q) @ matrix_from_quat(pose.q)
    return make_pose(pose.p + shift, quat_from_matrix(rotation))


def upright(position: Array | list[float], yaw: float = 0.0) -> sapien.Pose:
    """Pose of an object that stands on the table: position (m), yaw about z (rad)."""
    return make_pose(position, [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])

"""Rotation matrices [3, 3] and yaw angles (rad) in the world frame: z up, x to the right, y away from the robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

DOWN = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])  # tool pointing down, fingers along x


def rotation_about(axis: Array, angle: float) -> Array:
    """Rotation [3, 3] about a unit axis by an angle (rad)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def rotation_onto(axis: Array) -> Array:
    """A rotation [3, 3] that takes x, along which SAPIEN lays cylinders, capsules and joints, onto `axis`."""
    x = axis / np.linalg.norm(axis)
    y = np.cross([0.0, 0.0, 1.0], x) if abs(x[2]) < 0.9 else np.cross([1.0, 0.0, 0.0], x)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], 1)


def yawed(yaw: float, rotation: Array = DOWN) -> Array:
    """`rotation` turned about the world's z axis by `yaw` (rad)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ rotation


def directed(azimuth: float, pitch: float) -> Array:
    """Rotation of a tool that points along `azimuth` (rad, from +y towards +x), `pitch` (rad) below the horizon.

    The fingers close along the horizontal; `directed(0, pi / 2)` is `DOWN`.
    """
    (s, c), (sp, cp) = (np.sin(azimuth), np.cos(azimuth)), (np.sin(pitch), np.cos(pitch))
    return np.array([[cp * s, c, -sp * s], [cp * c, -s, -sp * c], [-sp, 0.0, -cp]])


def rolled(rotation: Array, angle: float) -> Array:
    """`rotation` turned about the tool's own axis by `angle` (rad): a quarter turn lets fingers take a level bar."""
    return rotation @ rotation_about(np.array([1.0, 0.0, 0.0]), angle)


def angle_between(a: Array, b: Array) -> float:
    """Angle (rad) of the rotation from a [3, 3] to b [3, 3]."""
    return float(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1)))


def yaw_of(rotation: Array) -> float:
    """Yaw (rad) of an upright body."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def wrapped(angle: float) -> float:
    """The same angle in [-pi, pi) (rad)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)

"""Where the cameras of aloha-agilex are: RoboTwin's D435 over the table and on both wrists. Imports no simulator.

Numbers: RoboTwin's embodiment `aloha-agilex` (config.yml: `static_camera_list`, the URDF's camera links) and
`task_config/_camera_config.yml`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from envs.constants import ARMS
from envs.tabletop.kinematics import endpose

FIELD_OF_VIEW = np.deg2rad(37.0)  # vertical, D435
HEAD_POSITION, HEAD_FORWARD, HEAD_LEFT = (-0.032, -0.45, 1.35), (0.0, 0.6, -0.8), (-1.0, 0.0, 0.0)
WRIST_POSITION, WRIST_PITCH = (0.07, 0.032, 0.065), 0.4  # on link6: m, rad

_ENDPOSE_FROM_LINK6 = np.diag([1.0, -1.0, -1.0])
_SAPIEN_FROM_OPENCV = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""SAPIEN's cameras look along x with z up, OpenCV's along z with y down."""


def head_rotation() -> NDArray[np.float64]:
    """Rotation [3, 3] of the head camera in the world, SAPIEN's axes."""
    forward, left = np.array(HEAD_FORWARD), np.array(HEAD_LEFT)
    return np.stack([forward, left, np.cross(forward, left)], 1)


def camera_intrinsic(size: tuple[int, int]) -> NDArray[np.float32]:
    """Intrinsics f32 [3, 3] (px) of an image of `size` (H, W)."""
    height, width = size
    focal = height / 2 / np.tan(FIELD_OF_VIEW / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)


def camera_extrinsics(qpos: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
    """Extrinsics of all cameras for joints `qpos` [T, 14] in RoboTwin's order.

    Returns:
        `head_camera`, `left_camera`, `right_camera` -> f32 [T, 3, 4], world to camera, OpenCV axes, m.
    """
    position, rotation = (each.numpy() for each in endpose(torch.from_numpy(qpos.astype(np.float64))))
    extrinsics = {
        "head_camera": np.repeat(_world_to_camera(np.array(HEAD_POSITION), head_rotation())[None], len(qpos), 0)
    }
    cosine, sine = np.cos(WRIST_PITCH), np.sin(WRIST_PITCH)
    pitch = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    for arm, name in enumerate(ARMS):
        link6 = rotation[:, arm] @ _ENDPOSE_FROM_LINK6
        centre = position[:, arm] + link6 @ np.array(WRIST_POSITION)
        extrinsics[f"{name}_camera"] = _world_to_camera(centre, link6 @ pitch)
    return extrinsics


def _world_to_camera(centre: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float32]:
    """Extrinsics [..., 3, 4] of a camera at `centre` [..., 3] (m, world) with `rotation` [..., 3, 3], SAPIEN's axes."""
    turn = np.swapaxes(rotation @ _SAPIEN_FROM_OPENCV, -1, -2)
    return np.concatenate([turn, -turn @ centre[..., None]], -1).astype(np.float32)

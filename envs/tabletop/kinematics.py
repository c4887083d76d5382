"""Kinematics of the two aloha-agilex arms, batched in torch.

Frames: `world` is RoboTwin's (x right, y away from the robot, z up; metres). `endpose` is RoboTwin's
published end-effector frame: the origin of link6 with link6's rotation times diag(1, -1, -1); its x axis
points out of the gripper and its y axis is the closing direction. The tool centre, the point between the
fingertips, lies `TOOL_OFFSET` along that x axis.

Numbers: RoboTwin embodiment `aloha-agilex` (assets/embodiments/aloha-agilex, URDF joint origins).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from envs.constants import ARMS, QPOS_ARM

TOOL_OFFSET = 0.12  # m, endpose origin to tool centre
ROOT_POSITION = (0.0, -0.65, 0.0)
ROOT_YAW = math.pi / 2  # the robot faces world +y
BASE_ORIGIN = {  # footprint -> arm base: xyz (m), rpy (rad)
    "left": ((0.2305, 0.297, 0.782), (0.0, 0.0, 0.02)),
    "right": ((0.2315, -0.3063, 0.781), (0.0, 0.0, 0.01)),
}
JOINT_ORIGIN = (  # parent -> child: xyz (m), rpy (rad), axis in the child frame
    ((0.0, 0.0, 0.058), (0.0, 0.0, 0.0), "z"),
    ((0.025013, 0.00060169, 0.042), (0.0, 0.0, 0.0), "y"),
    ((-0.26396, 0.0044548, 0.0), (-3.1416, 0.0, -0.015928), "y"),
    ((0.246, -0.00025, -0.06), (0.0, 0.0, 0.0), "y"),
    ((0.06775, 0.0015, -0.0855), (0.0, 0.0, -0.015928), "z"),
    ((0.03095, 0.0, 0.0855), (-3.1416, 0.0, 0.0), "x"),
)


def rpy_matrix(roll: float, pitch: float, yaw: float) -> Tensor:
    """Rotation matrix [3, 3] of URDF roll, pitch, yaw (rad): Rz(yaw) Ry(pitch) Rx(roll)."""
    angles = torch.tensor([roll, pitch, yaw], dtype=torch.float64)
    x, y, z = (_axis_rotation(angles[i], axis) for i, axis in enumerate("xyz"))
    return z @ y @ x


def _axis_rotation(angle: Tensor, axis: str) -> Tensor:
    """Rotations [..., 3, 3] by `angle` [...] (rad) about a coordinate axis."""
    c, s = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    rows = {
        "x": (one, zero, zero, zero, c, -s, zero, s, c),
        "y": (c, zero, s, zero, one, zero, -s, zero, c),
        "z": (c, -s, zero, s, c, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


@functools.cache
def arm_base(arm: str) -> tuple[Tensor, Tensor]:
    """World pose of an arm's base: position [3] (m) and rotation [3, 3], float64."""
    xyz, rpy = BASE_ORIGIN[arm]
    root = rpy_matrix(0.0, 0.0, ROOT_YAW)
    position = torch.tensor(ROOT_POSITION, dtype=torch.float64) + root @ torch.tensor(xyz, dtype=torch.float64)
    return position, root @ rpy_matrix(*rpy)


def arm_endpose(arm: str, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Forward kinematics of one arm.

    Args:
        arm: "left" or "right".
        joints: [..., 6] joint angles (rad).

    Returns:
        endpose position [..., 3] (m, scene) and rotation [..., 3, 3] (scene).
    """
    position, rotation = (t.to(joints) for t in arm_base(arm))
    position = position.expand(*joints.shape[:-1], 3)
    rotation = rotation.expand(*joints.shape[:-1], 3, 3)
    for j, (xyz, rpy, axis) in enumerate(JOINT_ORIGIN):
        offset = torch.tensor(xyz, dtype=joints.dtype, device=joints.device)
        position = position + rotation @ offset
        rotation = rotation @ rpy_matrix(*rpy).to(joints) @ _axis_rotation(joints[..., j], axis)
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=joints.dtype, device=joints.device)
    return position, rotation * flip


def endpose(qpos: Tensor) -> tuple[Tensor, Tensor]:
    """Forward kinematics of both arms.

    Args:
        qpos: [..., 14] joint vector in RoboTwin's order (grippers are ignored).

    Returns:
        positions [..., 2, 3] (m, scene) and rotations [..., 2, 3, 3] (scene), left arm first.
    """
    poses = [arm_endpose(arm, qpos[..., QPOS_ARM[arm]]) for arm in ARMS]
    return torch.stack([p for p, _ in poses], -2), torch.stack([r for _, r in poses], -3)


def tool_centre(position: Tensor, rotation: Tensor) -> Tensor:
    """Tool centres [..., 3] (m, scene) of endposes given as [..., 3] and [..., 3, 3]."""
    return position + TOOL_OFFSET * rotation[..., :, 0]

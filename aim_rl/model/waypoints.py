"""Action representation: a chunk as a few end-effector waypoints relative to the commanded pose.

A waypoint is 14 numbers, left arm then right: [dx dy dz (m), rotation vector (3, rad), gripper command (0..1)], in the
world frame. The reference pose is the forward kinematics of the joint targets commanded at the start of the chunk:
position = p_ref + d, rotation = exp(w) R_ref. The gripper command is absolute.
"""

from __future__ import annotations

import torch
from torch import Tensor

from envs.tabletop.kinematics import endpose, tool_centre

_GRIPPERS = [6, 13]


def encode_waypoints(qpos_ref: Tensor, targets: Tensor, stride: int = 4) -> Tensor:
    """Joint targets of a chunk -> waypoints.

    Args:
        qpos_ref: [..., 14], joint targets commanded at the start of the chunk (rad; grippers 0..1).
        targets: [..., h, 14], joint targets of the h control steps, a multiple of `stride`.
        stride: control steps per waypoint.

    Returns:
        [..., h / stride, 14], the waypoints at control steps stride, 2 stride and so on to h.
    """
    at_waypoints = targets[..., stride - 1 :: stride, :]
    p_ref, r_ref = endpose(qpos_ref[..., None, :])
    p, r = endpose(at_waypoints)
    rotation = log_map(r @ r_ref.transpose(-1, -2))
    per_arm = torch.cat([p - p_ref, rotation, at_waypoints[..., _GRIPPERS, None]], dim=-1)
    return per_arm.flatten(-2)


def decode_waypoints(qpos_ref: Tensor, waypoints: Tensor, horizon: int = 16) -> tuple[Tensor, Tensor]:
    """Waypoints -> end-effector targets of every control step, linear between waypoints (rotations: slerp).

    The first segment starts at the reference pose and the commanded gripper. Grippers are clamped to [0, 1].

    Args:
        qpos_ref: [..., 14], joint targets commanded at the start of the chunk.
        waypoints: [..., n, 14].
        horizon: control steps h, a multiple of n.

    Returns:
        actions: [..., h, 16], the environment's "ee" layout: per arm xyz (m), wxyz, gripper; world frame.
        commanded_tcp: [..., h, 2, 3], the tool centre of both arms, m, world frame.
    """
    p_ref, r_ref = endpose(qpos_ref)
    waypoints = waypoints.unflatten(-1, (2, 7))
    start = torch.cat([torch.zeros_like(waypoints[..., :1, :, :6]), qpos_ref[..., None, _GRIPPERS, None]], dim=-1)
    waypoints = torch.cat([start, waypoints], dim=-3)  # [..., n+1, 2, 7]

    stride = horizon // (waypoints.shape[-3] - 1)
    fraction = torch.arange(1, stride + 1, device=waypoints.device, dtype=waypoints.dtype) / stride
    fraction = fraction[:, None, None]  # [stride, 1, 1], against [..., n, stride, 2, 7]
    before, after = waypoints[..., :-1, None, :, :], waypoints[..., 1:, None, :, :]
    line = before + fraction * (after - before)
    r_before = exp_map(before[..., 3:6])
    turn = log_map(exp_map(after[..., 3:6]) @ r_before.transpose(-1, -2))
    rotation = exp_map(fraction * turn) @ r_before @ r_ref[..., None, None, :, :, :]
    position = line[..., :3] + p_ref[..., None, None, :, :]

    actions = torch.cat([position, matrix_to_quaternion(rotation), line[..., 6:].clamp(0.0, 1.0)], dim=-1)
    commanded_tcp = tool_centre(position, rotation)
    return actions.flatten(-2).flatten(-3, -2), commanded_tcp.flatten(-4, -3)


def exp_map(rotvec: Tensor) -> Tensor:
    """Rotation vector [..., 3] (rad) -> rotation matrix [..., 3, 3] (Rodrigues)."""
    x, y, z = rotvec.unbind(-1)
    o = torch.zeros_like(x)
    skew = torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))
    angle = rotvec.norm(dim=-1)[..., None, None]
    # torch.sinc(t) = sin(pi t) / (pi t), exact at 0; (1 - cos a) / a^2 = sinc(a / 2 pi)^2 / 2.
    first, second = torch.sinc(angle / torch.pi), 0.5 * torch.sinc(angle / (2 * torch.pi)) ** 2
    return torch.eye(3, device=rotvec.device, dtype=rotvec.dtype) + first * skew + second * (skew @ skew)


def log_map(rotation: Tensor) -> Tensor:
    """Rotation matrix [..., 3, 3] -> rotation vector [..., 3] (rad), of length at most pi."""
    quaternion = matrix_to_quaternion(rotation)
    w, axis = quaternion[..., :1], quaternion[..., 1:]
    sine = axis.norm(dim=-1, keepdim=True)
    # angle / sin(angle / 2) -> 2 as the angle vanishes; atan2 stays accurate at 0 and at pi.
    ratio = torch.where(sine > 1e-6, 2.0 * torch.atan2(sine, w) / sine.clamp_min(1e-6), 2.0)
    return ratio * axis


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """Rotation matrix [..., 3, 3] -> unit quaternion wxyz [..., 4] with w >= 0."""
    m = rotation.flatten(-2)
    xx, xy, xz, yx, yy, yz, zx, zy, zz = m.unbind(-1)
    # Row k is 4 q_k q; the one with the largest q_k never divides by something small.
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, zy - yz, xz - zx, yx - xy], dim=-1),
            torch.stack([zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx], dim=-1),
            torch.stack([xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy], dim=-1),
            torch.stack([yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz], dim=-1),
        ],
        dim=-2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = row / row.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)

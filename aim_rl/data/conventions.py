"""Conventions that a file does not state, checked by its numbers: robot, units, quaternion order, camera matrices."""

from __future__ import annotations

import numpy as np
import torch

from aim_rl.data.episode import Episode
from envs.constants import ARMS
from envs.tabletop.kinematics import endpose

MAX_POSITION_ERROR = 0.05  # m; measured hands lag behind their drive targets
MAX_ROTATION_ERROR = 0.5  # rad
MAX_CAMERA_DISTANCE = 0.5  # m, of a wrist camera from its hand

POSITION = "the recorded hand positions are not those of the joints: another robot, unit or frame?"
ROTATION = "the recorded hand rotations are not those of the joints: another robot, or quaternions as xyzw?"
CAMERA = "the wrist cameras are not at the hands: extrinsics from camera to world?"
GRIPPER = "both grippers start closed: 0 for open?"


def doubts(episode: Episode) -> list[str]:
    """Sentences about what contradicts this project's conventions in an episode; usually none.

    Medians over the frames are compared with what the forward kinematics of `qpos` gives for aloha-agilex.
    """
    position, rotation = endpose(torch.from_numpy(episode.qpos.astype(np.float64)))
    recorded = np.stack([episode.left_endpose, episode.right_endpose], 1).astype(np.float64)
    w, x, y, z = np.moveaxis(recorded[..., 3:], -1, 0)
    forward = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1)
    far = np.linalg.norm(position.numpy() - recorded[..., :3], axis=-1)
    turned = np.arccos(np.clip((rotation.numpy()[..., 0] * forward).sum(-1), -1, 1))  # of the hand's x axis
    found = []
    if np.median(far) > MAX_POSITION_ERROR:
        found.append(POSITION)
    if np.median(turned) > MAX_ROTATION_ERROR:
        found.append(ROTATION)
    for arm, name in enumerate(ARMS):
        extrinsic = getattr(episode, f"{name}_camera_extrinsic").astype(np.float64)
        centre = -np.einsum("tji,tj->ti", extrinsic[:, :, :3], extrinsic[:, :, 3])
        if np.median(np.linalg.norm(centre - recorded[:, arm, :3], axis=-1)) > MAX_CAMERA_DISTANCE:
            found.append(CAMERA)
            break
    if episode.qpos[0, [6, 13]].max() < 0.5:
        found.append(GRIPPER)
    return found

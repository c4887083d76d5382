"""From a command to joint targets: one speed-limited control step of an arm towards it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.constants import OPEN_COMMAND
from envs.tabletop import kinematics as kin
from envs.tabletop.poses import make_pose, quat_from_matrix
from envs.tabletop.robot import Arm
from envs.tabletop.rotations import angle_between, rotation_about
from envs.tabletop.skills import Command

Array = NDArray[np.floating]

TURN_LIMIT = 0.16  # rad per control step
GAIN = 0.5  # share of the remaining distance covered per control step, near the goal
MIN_STEP, MIN_TURN = 0.004, 0.02  # m, rad: a remaining distance below this is covered at once


def next_joints(arm: Arm, command: Command) -> Array:
    """One control step towards a command, speed-limited: joint targets [6] (rad).

    An arm whose gripper is just opening keeps still, or it would drag along what it releases.
    """
    if command.gripper > OPEN_COMMAND and arm.is_opening:
        return arm.joints
    pose = arm.commanded_endpose()
    rotation = pose.to_transformation_matrix()[:3, :3]
    position = pose.p + kin.TOOL_OFFSET * rotation[:, 0]
    offset = command.position - position
    distance = max(float(np.linalg.norm(offset)), 1e-9)
    step = offset * min(1.0, max(GAIN, MIN_STEP / distance), command.speed / distance)
    rotation = turn_towards(rotation, command.rotation)
    origin = position + step - kin.TOOL_OFFSET * rotation[:, 0]
    return arm.inverse(make_pose(origin, quat_from_matrix(rotation)))


def turn_towards(rotation: Array, goal: Array) -> Array:
    """`rotation` [3, 3] turned towards `goal` [3, 3] by at most TURN_LIMIT, by GAIN of the angle when near."""
    angle = angle_between(rotation, goal)
    if angle < 1e-6:
        return goal
    relative = rotation.T @ goal
    axis = np.array([relative[2, 1] - relative[1, 2], relative[0, 2] - relative[2, 0], relative[1, 0] - relative[0, 1]])
    norm = np.linalg.norm(axis)
    if norm < 1e-6:  # half a turn: any axis will do
        axis, norm = np.array([0.0, 0.0, 1.0]), 1.0
    return rotation @ rotation_about(axis / norm, min(TURN_LIMIT, max(GAIN * angle, min(angle, MIN_TURN))))

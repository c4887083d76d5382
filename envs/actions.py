"""The actions that both backends take."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.constants import ACTION_SIZE

_BOUND = {"joint": np.pi + 0.5, "ee": 2.0, "delta_ee": 0.5}  # rad and m, of the numbers that are no gripper


def action_space(action_mode: str) -> Any:  # a gym.spaces.Box
    """Box f32 [14 or 16] of one control step: per arm numbers (rad, m) within a bound, then the gripper in [0, 1]."""
    size = ACTION_SIZE[action_mode]
    high = np.full(size, _BOUND[action_mode], np.float32)
    low = -high
    grippers = [size // 2 - 1, size - 1]
    low[grippers], high[grippers] = 0.0, 1.0
    return gym.spaces.Box(low, high, dtype=np.float32)


def check_action(action: NDArray[np.floating], action_mode: str) -> NDArray[np.float64]:
    """A float64 copy of an action, before anything moves: grippers in [0, 1], quaternions of unit length.

    Raises:
        ValueError: its shape is wrong, it is not finite, or a quaternion is zero.
    """
    action = np.array(action, dtype=np.float64)
    size = ACTION_SIZE[action_mode]
    if action.shape != (size,):
        raise ValueError(f"action has shape {action.shape}, action_mode={action_mode!r} takes ({size},)")
    if not np.isfinite(action).all():
        raise ValueError("action holds NaN or infinity; the robot was not moved")
    for arm in np.split(action, 2):  # views of `action`
        arm[-1] = arm[-1].clip(0.0, 1.0)
        if action_mode == "ee":
            norm = np.linalg.norm(arm[3:7])
            if norm < 1e-6:
                raise ValueError("action holds a zero quaternion; give wxyz of unit length")
            arm[3:7] /= norm
    return action

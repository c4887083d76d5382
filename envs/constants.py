"""Names, sizes and thresholds that both backends, the models and the data share. Imports no simulator."""

from __future__ import annotations

ARMS = ("left", "right")
CAMERAS = ("head_camera", "left_camera", "right_camera")
SETTINGS = ("clean", "randomized")
"""RoboTwin's demo_clean and demo_randomized."""
INSTRUCTION_SPLITS = ("seen", "unseen")
"""Instructions for training, and those that only evaluation reads."""
BACKENDS = ("tabletop", "robotwin")

PHYSICS_STEP = 1.0 / 250.0
"""s."""
SUBSTEPS = 15
"""Physics steps per control step, as between the frames of RoboTwin's data (envs/_base_task.py: save_freq)."""
CONTROL_STEP = PHYSICS_STEP * SUBSTEPS
"""s."""

ACTION_SIZE = {"joint": 14, "ee": 16, "delta_ee": 14}
"""Action mode -> numbers per control step; `envs.actions.action_space` describes them."""
QPOS_ARM = {"left": slice(0, 6), "right": slice(7, 13)}
"""Arm -> its six joints in RoboTwin's 14-vector: left 6 joints (rad), left gripper (0..1), right 6, right gripper."""
QPOS_GRIPPER = {"left": 6, "right": 13}
"""Arm -> its gripper in the 14-vector."""

# Gripper commands: 0 is closed, 1 is open.
OPEN_COMMAND = 0.8
"""A gripper is open above this command (RoboTwin, envs/robot/robot.py: is_left_gripper_open)."""
CLOSED_COMMAND = 0.2
"""A gripper is closed below this command (RoboTwin, envs/robot/robot.py: is_left_gripper_close)."""
GRASP_COMMAND = 0.5
"""A gripper is meant to hold something below this command; an object keeps its fingers apart."""

PICK, PLACE, PRESS = 0, 1, 2
"""Kinds of interaction event (docs/method.md, "Value-map labels")."""


def other_arm(arm: str) -> str:
    """The arm that is not `arm`."""
    return ARMS[1 - ARMS.index(arm)]

"""The worker's inverse kinematics against the tabletop's on the same robot: "ee" actions mean the same on both."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from envs.robotwin.worker import ELBOW_STRAIGHT, ArmKinematics
from envs.tabletop.env import TabletopEnv


@pytest.mark.parametrize("side", ["left", "right"])
def test_both_backends_send_the_joints_to_the_same_angles(side: str) -> None:
    env = TabletopEnv("click_bell", head_size=(8, 8), wrist_size=(8, 8))
    env.restart(0)
    arm, rng = env.scene.arms[side], np.random.default_rng(0)
    joints, links = list(arm.articulation.active_joints), list(arm.articulation.links)
    wrist = SimpleNamespace(child_link=links[-3])  # before the fingers
    robot = {f"{side}_entity": arm.articulation, f"{side}_ee": wrist, f"{side}_arm_joints": joints[:6]}
    pose = arm.endpose()
    task = SimpleNamespace(robot=SimpleNamespace(**robot), get_arm_pose=lambda _: [*pose.p, *pose.q])
    kinematics, plain = ArmKinematics(task, side, ELBOW_STRAIGHT["aloha-agilex"]), ArmKinematics(task, side)
    apart, without = [], []
    for elbow in np.linspace(1.5, 3.1, 65):
        goal = np.array([0.0, 1.5, elbow, 0.2, 0.0, 0.0]) + rng.normal(0, 0.05, 6)
        arm.command(goal, 1.0, 0.06)
        target = arm.commanded_endpose()
        arm.command(goal + rng.normal(0, 0.03, 6) - [0.0, 0.0, 0.3, 0.0, 0.0, 0.0], 1.0, 0.06)
        expected, endpose = arm.inverse(target), np.array([*target.p, *target.q])
        apart.append(np.abs(kinematics.inverse(endpose) - expected).max())
        without.append(np.abs(plain.inverse(endpose) - expected).max())
    assert max(apart) < 1e-3 and sum(np.array(without) > 0.05) >= 5  # rad; where the elbow's rule counts

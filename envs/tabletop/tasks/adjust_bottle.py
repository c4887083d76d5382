"""RoboTwin's adjust_bottle: pick up the lying bottle and hold it upright."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import BOTTLES
from envs.tabletop.robot import make_pose, quat_from_matrix
from envs.tabletop.rotations import directed
from envs.tabletop.skills import Grasp
from envs.tabletop.task import Commands, Task

ASIDE, HEIGHT = 0.15, 0.16  # m, RoboTwin's: from the table's middle, above the table
UPRIGHT = 0.9  # cosine
GOAL = np.array([0.25, -0.12, 0.21])  # m, of the hand, above the table
PITCH = 1.4  # rad below the horizon


class AdjustBottle(Task):
    step_limit = 400
    instructions = (
        "pick up the {bottle} and hold it upright",
        "take the lying {bottle} with the {arm} arm and turn its head up",
        "lift the {colour} {bottle} so that its top points upwards",
        "grab the {bottle} with the {arm} arm and hold it head up",
        "raise the {bottle} and set it upright in the air",
        "use the {arm} arm to pick the {colour} {bottle} up, its top above",
        "adjust the {bottle}: pick it up and straighten it",
        "take hold of the {colour} {bottle} and bring it into an upright position",
        "pick the fallen {bottle} up and keep it vertical",
        "lift the {bottle} off the table and turn it upright",
    )
    unseen_instructions = (
        "the {bottle} should stand upright in the {arm} hand",
        "right the {colour} {bottle} above the table",
        "the top of the {bottle} has to point at the ceiling",
        "straighten up the toppled {bottle} and hold it aloft",
        "with the {arm} gripper, bring the {bottle} head up",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.08, -0.13], [0.12, -0.08]) * [side, 1]
        self.kind = str(self.rng.choice(sorted(BOTTLES)))
        self.bottle = BOTTLES[self.kind](self.scene, self.scene.on_table(spot))
        heading = -side * (np.pi / 2 + self.rng.uniform(-0.4, 0.4))  # its top points to the table's middle
        rotation = directed(heading, 0.0)[:, [2, 1, 0]] * [-1, 1, 1]
        centre = self.bottle.points["top"][2] / 2 * rotation[:, 2]
        lying = np.array([*spot, self.scene.table_top + self.bottle.width / 2 + 0.001]) - centre
        self.bottle.entity.set_pose(make_pose(lying, quat_from_matrix(rotation)))
        self.arm = {-1: "left", 1: "right"}[side]
        self.scene.keep_clear(spot, 0.15)

    def slots(self) -> dict[str, str]:
        return {"bottle": self.kind, "colour": self.bottle.colour, "arm": self.arm}

    def check_success(self) -> bool:
        """RoboTwin's predicate: raised on its side of the table; and upright, in the gripper."""
        grip = self.bottle.point("grip")
        aside = grip[0] * (1 if self.arm == "right" else -1) > ASIDE
        raised = grip[2] > self.scene.table_top + HEIGHT and self.bottle.rotation[2, 2] > UPRIGHT
        return bool(aside and raised and self.scene.touching(f"{self.arm}_finger*", self.bottle.name))

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        held, axis = self.bottle.point("grip"), self.bottle.rotation[:, 2]
        if self.skills.pinches(self.arm, held, self.bottle.width):
            goal = GOAL * [1 if self.arm == "right" else -1, 1, 1] + [0, 0, self.scene.table_top]
            rotation = self.skills.reach_rotation(self.arm, goal, 0.0)
            commands[self.arm] = self.skills.lift_to(self.arm, held, goal, rotation)
        else:  # towards the bottle's top, so that levelling the tool turns that up
            rotation = directed(np.arctan2(*axis[:2]), PITCH)
            commands[self.arm] = self.skills.grasp_actor(self.arm, Grasp(held, rotation, self.bottle.width))
        return commands

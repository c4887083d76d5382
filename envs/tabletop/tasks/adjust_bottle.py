"""Pick up the lying bottle and hold it upright.

Asked: the arm on the bottle's side lifts it and turns its top up.
Varies: kind, size and colour of the bottle, its side of the table, position and heading; the instruction.
Done: the bottle is upright, raised and aside of the table's middle, and that arm's fingers touch it.

Source: RoboTwin 2.0, envs/adjust_bottle.py. That the bottle must be upright and in the gripper is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.handheld import BOTTLES
from envs.tabletop.poses import make_pose, quat_from_matrix
from envs.tabletop.rotations import directed
from envs.tabletop.skills import ARM_AT, SIGN, Grasp
from envs.tabletop.task import Commands, Task

BOTTLE_AREA = ((0.08, -0.13), (0.12, -0.08))  # m, of its foot, on either side
HEADING, MAX_TURN = np.pi / 2, 0.4  # rad: its top points to the table's middle, by about this much
CLEARANCE = 0.15  # m, half width of the square without clutter
ASIDE, HEIGHT = 0.15, 0.16  # m, RoboTwin's: from the table's middle, above the table
UPRIGHT = 0.9  # cosine
GOAL = np.array([0.25, -0.12, 0.21])  # m, of the grasp point: for the right arm, above the table
PITCH = 1.4  # rad below the horizon, of the tool that grasps


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
        side = self.random_side()
        spot = self.random_xy(BOTTLE_AREA, side)
        self.kind = str(self.rng.choice(sorted(BOTTLES)))
        self.bottle = BOTTLES[self.kind](self.scene, self.scene.on_table(spot))
        heading = -side * (HEADING + self.random_yaw(MAX_TURN))
        rotation = directed(heading, 0.0)[:, [2, 1, 0]] * [-1, 1, 1]  # the bottle's axis along the heading
        centre = self.bottle.points["top"][2] / 2 * rotation[:, 2]
        lying = np.array([*spot, self.scene.table_top + self.bottle.width / 2 + 0.001]) - centre
        self.bottle.entity.set_pose(make_pose(lying, quat_from_matrix(rotation)))
        self.arm = ARM_AT[side]
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"bottle": self.kind, "colour": self.bottle.colour, "arm": self.arm}

    def check_success(self) -> bool:
        grip = self.bottle.point("grip")
        aside = grip[0] * SIGN[self.arm] > ASIDE
        raised = grip[2] > self.scene.table_top + HEIGHT and self.bottle.rotation[2, 2] > UPRIGHT
        return bool(aside and raised and self.skills.touches(self.arm, self.bottle))

    def expert(self) -> Commands:
        """Grasps with the tool towards the bottle's top, so that a level tool turns the top up."""
        grip, axis = self.bottle.point("grip"), self.bottle.rotation[:, 2]
        grasp = Grasp(grip, directed(np.arctan2(*axis[:2]), PITCH), self.bottle.width)
        if not self.skills.holds(self.arm, grasp):
            return {self.arm: self.skills.grasp_actor(self.arm, grasp)}
        goal = self.skills.mirrored(self.arm, GOAL)
        return {self.arm: self.skills.lift_to(self.arm, grip, goal, self.skills.reach_rotation(self.arm, goal, 0.0))}

"""Hang the mug on the rack.

Asked: the left arm puts the mug down in the middle, its handle towards the rack; the right arm picks it up from there
and slides the handle over the rack's peg.
Varies: looks, position and yaw of mug and rack; the instruction.
Done: the peg runs through the mug's handle, the mug hangs still, touches the rack but not the table, the right gripper
is open and no finger touches the mug.

Source: RoboTwin 2.0, envs/hanging_mug.py, in the terms of our rack.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sapien

from envs.contacts import REST_SPEED
from envs.tabletop.objects.containers import mug_rack
from envs.tabletop.objects.tableware import mug
from envs.tabletop.rotations import directed, yawed
from envs.tabletop.skills import CLOSED, SLOW, Command, Grasp
from envs.tabletop.task import Commands, Task

FACING = -np.pi / 4  # rad, azimuth in which the handle points when the right arm grasps and hangs the mug
MUG_AREA, MAX_MUG_TURN = ((-0.25, -0.05), (-0.1, 0.05)), np.pi / 2  # m; rad, from that azimuth
RACK_AREA, MAX_RACK_TURN = ((0.1, 0.13), (0.3, 0.17)), 0.2  # m; rad, of the peg from that azimuth
MIDDLE = np.array([0.0, -0.15])  # m, RoboTwin's: where the right arm picks the mug up
MUG_CLEARANCE, RACK_CLEARANCE = 0.13, 0.16  # m, half widths of the squares without clutter
ON_PEG, RAISED = 0.03, 0.1  # m: the handle's hole from the peg; above the table
LEFT_OF_MIDDLE = -0.05  # m: a mug with a smaller x is not in the middle yet
SWING_DAMPING = 4.0  # 1/s: a mug on the peg soon hangs still
LEAD_IN = 0.11  # m, along the peg
AT_PEG = 0.012  # m
PITCH = 0.9  # rad below the horizon, of the right tool


class HangingMug(Task):
    step_limit = 900
    instructions = (
        "hang the mug on the rack",
        "put the mug down in the middle, then hang it on the rack's peg",
        "hang the {colour} mug on the mug tree by its handle",
        "use the left arm to bring the mug to the middle and the right arm to hang it up",
        "pass the mug from the left to the right arm and hang it on the rack",
        "slide the handle of the mug over the peg of the {rack} rack",
        "take the {colour} mug and hang it on the {rack} stand",
        "pick up the mug and let it hang from the rack",
        "both arms work together to hang up the mug",
        "place the handle of the mug on the peg and let go",
    )
    unseen_instructions = (
        "the mug should dangle from the rack",
        "the {colour} mug belongs on the peg",
        "after use, mugs hang on the {rack} rack: put this one there",
        "get the cup with the handle onto the mug tree",
        "move the mug over to the right and hang it up",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(MUG_AREA)
        self.mug = mug(self.scene, self.scene.on_table(spot, np.pi / 2 - FACING + self.random_yaw(MAX_MUG_TURN)))
        dynamic: Any = self.mug.entity.find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
        dynamic.angular_damping = SWING_DAMPING
        self.scene.keep_clear(spot, MUG_CLEARANCE)
        self.scene.keep_clear(MIDDLE, MUG_CLEARANCE)
        spot = self.random_xy(RACK_AREA)
        self.azimuth = FACING + self.random_yaw(MAX_RACK_TURN)
        self.rack = mug_rack(self.scene, self.scene.on_table(spot, np.pi / 2 - self.azimuth))
        self.scene.keep_clear(spot, RACK_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"colour": self.mug.colour, "rack": self.rack.colour}

    def check_success(self) -> bool:
        return bool(
            self.on_peg()
            and self.mug.speed < REST_SPEED
            and self.skills.is_open("right")
            and self.scene.touching(self.mug.name, self.rack.name)
            and not self.scene.fingers_on(self.mug.name)
            and not self.scene.touching(self.mug.name, "table")
        )

    def on_peg(self) -> bool:
        """Whether the peg runs through the hole of the handle."""
        peg = self.rack.point("tip") - self.rack.point("root")
        hole = self.mug.point("hole") - self.rack.point("root")
        share = float(hole @ peg) / float(peg @ peg)
        raised = self.mug.point("hole")[2] > self.scene.table_top + RAISED
        return bool(0.0 < share < 1.0 and np.linalg.norm(hole - share * peg) < ON_PEG and raised)

    def expert(self) -> Commands:
        skills = self.skills
        grasps = {"left": skills.long_grasp("left", self.mug), "right": self._right_grasp()}
        held = {arm: skills.holds(arm, grasp) for arm, grasp in grasps.items()}
        if held["right"]:
            return {"right": self._hang()} | ({"left": skills.open_gripper("left")} if held["left"] else {})
        if self.on_peg():
            return {"right": skills.retreat("right", self.mug)}
        if held["left"]:
            goal = np.array([*MIDDLE, self.scene.table_top + 0.003])
            rotation = skills.rotation_to_orient("left", self.mug, yawed(np.pi / 2 - FACING, np.eye(3)))
            return {"left": skills.place_actor("left", self.mug, goal, rotation, twist=0.1)}
        if self.mug.position[0] < LEFT_OF_MIDDLE:
            return {"left": skills.grasp_actor("left", grasps["left"])}
        if skills.out_of_the_way("left"):
            return {"right": skills.grasp_actor("right", grasps["right"])}
        return {}

    def _right_grasp(self) -> Grasp:
        """Across the mug, from the side opposite its handle."""
        x, y = self.mug.rotation[:2, 0]
        return Grasp(self.mug.point("grip"), directed(np.arctan2(x, y), PITCH), self.mug.width)

    def _hang(self) -> Command:
        """Slides the handle over the peg, from the tip to the root, and opens."""
        offset = self.rack.point("peg") - self.mug.point("hole")
        if np.linalg.norm(offset) < AT_PEG:
            return self.skills.open_gripper("right", SLOW)
        peg = self.rack.point("tip") - self.rack.point("root")
        goal, rotation = self.skills.tool("right").position + offset, directed(self.azimuth, PITCH)
        return self.skills.approach("right", goal, rotation, CLOSED, LEAD_IN, along=peg / np.linalg.norm(peg))

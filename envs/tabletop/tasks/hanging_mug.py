"""RoboTwin's hanging_mug: the left arm puts the mug in the middle, the right arm hangs it on the rack's peg."""

from __future__ import annotations

from typing import Any

import numpy as np
import sapien

from envs.tabletop import kinematics as kin
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.objects.containers import mug_rack
from envs.tabletop.objects.tableware import mug
from envs.tabletop.rotations import directed, yawed
from envs.tabletop.skills import CLOSED, OPEN, SLOW, Command, Grasp
from envs.tabletop.task import Commands, Task

MIDDLE = np.array([0.0, -0.15])  # m, RoboTwin's
ON_PEG, RAISED = 0.03, 0.1  # m: the handle's hole from the peg; above the table
FACING = -np.pi / 4  # rad, azimuth in which the handle points when the right arm takes and hangs the mug
PITCH = 0.9  # rad below the horizon
SWING_DAMPING = 4.0  # 1/s: a mug on the peg soon hangs still
LEAD_IN = 0.11  # m, along the peg


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
        spot = self.rng.uniform([-0.25, -0.05], [-0.1, 0.05])
        yaw = np.pi / 2 - FACING + self.rng.uniform(-np.pi / 2, np.pi / 2)
        self.mug = mug(self.scene, self.scene.on_table(spot, yaw))
        dynamic: Any = self.mug.entity.find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
        dynamic.angular_damping = SWING_DAMPING
        self.scene.keep_clear(spot, 0.13)
        self.scene.keep_clear(MIDDLE, 0.13)
        spot = self.rng.uniform([0.1, 0.13], [0.3, 0.17])
        self.azimuth = FACING + self.rng.uniform(-0.2, 0.2)
        self.rack = mug_rack(self.scene, self.scene.on_table(spot, np.pi / 2 - self.azimuth))
        self.scene.keep_clear(spot, 0.16)

    def slots(self) -> dict[str, str]:
        return {"colour": self.mug.colour, "rack": self.rack.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate in the terms of our rack: the peg runs through the handle, the mug hangs still."""
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
        way = self.rack.point("tip") - self.rack.point("root")
        hole = self.mug.point("hole") - self.rack.point("root")
        share = float(hole @ way) / float(way @ way)
        raised = self.mug.point("hole")[2] > self.scene.table_top + RAISED
        return bool(0.0 < share < 1.0 and np.linalg.norm(hole - share * way) < ON_PEG and raised)

    def expert(self) -> Commands:
        skills = self.skills
        commands = {arm: skills.back_to_origin(arm) for arm in kin.ARMS}
        grip = {"left": skills.long_grasp("left", self.mug), "right": self._right_grip()}
        held = {arm: skills.holds(arm, g) for arm, g in grip.items()}
        if held["right"]:
            commands["right"] = self._hang()
            if held["left"]:
                commands["left"] = Command(skills.tool("left").position, skills.tool("left").rotation, OPEN)
        elif self.on_peg():
            commands["right"] = skills.retreat("right", self.mug)
        elif held["left"]:
            goal = np.array([*MIDDLE, self.scene.table_top + 0.003])
            upright = yawed(np.pi / 2 - FACING, np.eye(3))
            turn = skills.rotation_to_orient("left", self.mug, upright)
            commands["left"] = skills.place_actor("left", self.mug, goal, turn, twist=0.1)
        elif self.mug.position[0] < -0.05:
            commands["left"] = skills.grasp_actor("left", grip["left"])
        elif skills.out_of_the_way("left"):
            commands["right"] = skills.grasp_actor("right", grip["right"])
        return commands

    def _right_grip(self) -> Grasp:
        """Across the mug, from the side opposite its handle."""
        x, y = self.mug.rotation[:2, 0]
        return Grasp(self.mug.point("grip"), directed(np.arctan2(x, y), PITCH), self.mug.width)

    def _hang(self) -> Command:
        """Slides the handle over the peg, against the peg's direction, and lets go."""
        tool, offset = self.skills.tool("right"), self.rack.point("peg") - self.mug.point("hole")
        if np.linalg.norm(offset) < 0.012:
            return Command(tool.position, tool.rotation, OPEN, SLOW)
        way = self.rack.point("tip") - self.rack.point("root")
        turn, out = directed(self.azimuth, PITCH), way / np.linalg.norm(way)
        return self.skills.approach("right", tool.position + offset, turn, CLOSED, LEAD_IN, along=out)

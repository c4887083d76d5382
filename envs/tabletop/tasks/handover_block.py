"""Hand a long block over from the left arm to the right arm, which puts it on the pad.

Asked: the left arm grasps the block at its upper part and holds it out in the middle; the right arm takes it there and
puts it upright on the pad.
Varies: size and colour of the block, its position and yaw, position and colour of the pad; the instruction.
Done: the block rests on the pad, near its middle, the right gripper is open and no finger touches the block.

Source: RoboTwin 2.0, envs/handover_block.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.tabletop.objects.parts import PALETTE, draw
from envs.tabletop.rotations import directed
from envs.tabletop.skills import CLOSED, OPEN, UP, Command
from envs.tabletop.task import Commands, Task

HALF_SIDES, HALF_HEIGHTS = (0.026, 0.03), (0.09, 0.1)  # m, of the block; RoboTwin's are the larger
BLOCK_COLOURS, PAD_COLOURS = ("red", "orange", "purple", "pink"), ("blue", "teal", "green", "black")
BLOCK_AREA, PAD_AREA = ((-0.25, 0.0), (-0.05, 0.25)), ((0.1, 0.15), (0.25, 0.2))  # m
BLOCK_YAW, MAX_TURN = 2 * np.arctan2(0.195, 0.981), 0.2  # rad, RoboTwin's, about so far
PAD_HALF = (0.05, 0.05, 0.005)  # m
CLEARANCE = 0.1  # m, half width of the squares without clutter about block and pad
ON_PAD = (0.03, 0.03, 0.01)  # m, RoboTwin's
HANDOVER = np.array([0.0, -0.1, 0.16])  # m, the block's centre, above the table
UPPER = 0.7  # of the half height above the block's middle: the left arm's grasp; the middle is the right arm's
PREGRASP = 0.12  # m, from a grasp
AT_HANDOVER, LEFT_GONE, LEFT_REACH = 0.012, 0.12, 0.05  # m: block there; left tool off it; left arm's largest x


class HandoverBlock(Task):
    step_limit = 800
    instructions = (
        "hand the {colour} block over from the left arm to the right arm and put it on the {pad} pad",
        "pick up the long block with the left arm, pass it to the right arm and place it on the pad",
        "use both arms to move the {colour} block to the {pad} target",
        "take the {colour} block on the left, hand it to the right arm and stand it on the {pad} pad",
        "grab the block with the left gripper, let the right gripper take over and put it on the pad",
        "pass the long {colour} block from left to right and set it on the {pad} square",
        "left arm picks the block, right arm places it on the {pad} pad",
        "hand over the {colour} block and stand it on the pad",
        "lift the {colour} block, change hands and put it down on the {pad} pad",
        "let both arms work together to bring the block to the {pad} pad",
    )
    unseen_instructions = (
        "the left hand fetches the block and the right hand stands it on the pad",
        "get the tall {colour} block onto the {pad} square with a hand-over",
        "swap the block between the grippers in mid-air and finish on the pad",
        "the block on the left belongs on the {pad} pad on the right",
        "transfer the {colour} bar from one arm to the other and set it upright on the target",
    )

    def load_actors(self) -> None:
        top = self.scene.table_top
        spot = self.random_xy(BLOCK_AREA)
        yaw = BLOCK_YAW + self.random_yaw(MAX_TURN)
        half, self.half_height = draw(self.scene, HALF_SIDES), draw(self.scene, HALF_HEIGHTS)
        colour, position = draw(self.scene, BLOCK_COLOURS), [*spot, top + self.half_height + 0.001]
        self.block = self.scene.box("block", (half, half, self.half_height), position, PALETTE[colour], yaw)
        self.block.width, self.block.colour = 2 * half, colour
        pad, colour = self.random_xy(PAD_AREA), draw(self.scene, PAD_COLOURS)
        self.pad = self.scene.box("pad", PAD_HALF, [*pad, top], PALETTE[colour], static=True)
        self.pad.colour = colour
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(pad, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"colour": self.block.colour, "pad": self.pad.colour}

    @property
    def goal(self) -> np.ndarray:
        """Where the block's centre belongs (m, scene)."""
        return self.pad.position + (PAD_HALF[2] + self.half_height) * UP

    @property
    def upper(self) -> np.ndarray:
        """Where the left arm grasps the block (m, scene)."""
        return self.block.position + UPPER * self.half_height * UP

    def check_success(self) -> bool:
        offset = self.block.position - self.block.rotation[:, 2] * self.half_height - self.goal
        offset[2] += self.half_height
        return bool(
            np.all(np.abs(offset) < ON_PAD)
            and self.skills.is_open("right")
            and self.skills.rests_on(self.block, self.pad)
            and not self.scene.fingers_on(self.block.name)
        )

    def expert(self) -> Commands:
        left_holds = self.skills.pinches("left", self.upper, self.block.width)
        if self.skills.pinches("right", self.block.position, self.block.width):
            return self._place(left_holds)
        if left_holds:
            return self._hand_over()
        if self.block.position[0] < LEFT_REACH:
            return {"left": self._grasp("left", self.upper)}
        return {"right": self._grasp("right", self.block.position)}

    def _grasp(self, arm: str, point: np.ndarray) -> Command:
        """Grasps the upright block from the side whose face looks most towards the arm."""
        reach = self.skills.reach_rotation(arm, point, 0.0)[:, 0]
        quarter = np.arctan2(reach[0], reach[1]) + np.arctan2(*self.block.rotation[[1, 0], 0])
        azimuth = np.arctan2(reach[0], reach[1]) - ((quarter + np.pi / 4) % (np.pi / 2) - np.pi / 4)
        rotation = directed(azimuth, 0.0)
        return self.skills.grasp_point(arm, point, rotation, PREGRASP, along=-rotation[:, 0])

    def _hand_over(self) -> Commands:
        """The left arm holds the block out in the middle; the right arm grasps it there, at a right angle."""
        middle = np.array([*HANDOVER[:2], self.scene.table_top + HANDOVER[2]])
        rotation = directed(-np.pi / 4, 0.0)
        if np.linalg.norm(self.block.position - middle) < AT_HANDOVER:
            right = self.skills.grasp_point("right", self.block.position, rotation, PREGRASP, along=-rotation[:, 0])
        else:
            right = Command(middle - PREGRASP * rotation[:, 0], rotation, OPEN)
        left = self.skills.carry("left", self.block.position, middle, directed(np.pi / 4, 0.0))
        return {"left": left, "right": right}

    def _place(self, left_holds: bool) -> Commands:
        """The left arm opens and leaves; then the right arm puts the block upright on the pad."""
        skills = self.skills
        left_distance = np.linalg.norm((skills.tool("left").position - self.block.position)[:2])
        if left_holds or left_distance < LEFT_GONE:
            right = replace(skills.hold_still("right"), gripper=CLOSED)
        else:
            right = skills.place_actor("right", self.block, self.goal, skills.reach_rotation("right", self.goal, 0.0))
        left = skills.open_gripper("left") if left_holds else skills.retreat("left", self.block)
        return {"left": left, "right": right}

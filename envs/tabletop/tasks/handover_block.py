"""RoboTwin's handover_block: the left arm hands a long block to the right arm, which stands it on the pad."""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.parts import PALETTE, draw
from envs.tabletop.rotations import directed
from envs.tabletop.skills import CLOSED, OPEN, UP, Command
from envs.tabletop.task import Commands, Task

HALVES, HALF_HEIGHTS = (0.026, 0.03), (0.09, 0.1)  # m, the long block's; RoboTwin's are the larger
COLOURS, PAD_COLOURS = ("red", "orange", "purple", "pink"), ("blue", "teal", "green", "black")
PAD = (0.05, 0.05, 0.005)  # m
ON_PAD, HEIGHT = 0.03, 0.01  # m, RoboTwin's
HANDOVER = np.array([0.0, -0.1, 0.16])  # m, the block's centre above the table
UPPER = 0.7  # of the half height: where the left arm holds the block, above its middle, the right arm's place
PREGRASP = 0.12  # m


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
        spot = self.rng.uniform([-0.25, 0.0], [-0.05, 0.25])
        yaw = 2 * np.arctan2(0.195, 0.981) + self.rng.uniform(-0.2, 0.2)
        half, self.half_height = draw(self.scene, HALVES), draw(self.scene, HALF_HEIGHTS)
        colour, position = draw(self.scene, COLOURS), [*spot, top + self.half_height + 0.001]
        self.block = self.scene.box("block", (half, half, self.half_height), position, PALETTE[colour], yaw)
        self.block.width, self.block.colour = 2 * half, colour
        pad, colour = self.rng.uniform([0.1, 0.15], [0.25, 0.2]), draw(self.scene, PAD_COLOURS)
        self.pad = self.scene.box("pad", PAD, [*pad, top], PALETTE[colour], static=True)
        self.pad.colour = colour
        self.scene.keep_clear(spot, 0.1)
        self.scene.keep_clear(pad, 0.1)

    def slots(self) -> dict[str, str]:
        return {"colour": self.block.colour, "pad": self.pad.colour}

    @property
    def goal(self) -> np.ndarray:
        """Where the block's centre belongs (m, scene)."""
        return self.pad.position + (PAD[2] + self.half_height) * UP

    @property
    def upper(self) -> np.ndarray:
        """Where the left arm holds the block (m, scene)."""
        return self.block.position + UPPER * self.half_height * UP

    def check_success(self) -> bool:
        """RoboTwin's predicate on the block's underside, and it stands there, let go."""
        offset = self.block.position - self.block.rotation[:, 2] * self.half_height - self.goal
        offset[2] += self.half_height
        placed = np.all(np.abs(offset) < [ON_PAD, ON_PAD, HEIGHT])
        return bool(
            placed
            and self.skills.is_open("right")
            and self.skills.rests_on(self.block, self.pad)
            and not self.scene.fingers_on(self.block.name)
        )

    def expert(self) -> Commands:
        skills, block = self.skills, self.block
        held = {
            "left": skills.pinches("left", self.upper, block.width),
            "right": skills.pinches("right", block.position, block.width),
        }
        if held["right"]:
            return self._place(held["left"])
        if held["left"]:
            return self._hand_over()
        if block.position[0] < 0.05:
            pick = self._grasp("left", self.upper)
            return {"left": pick, "right": skills.back_to_origin("right")}
        return {
            "left": skills.back_to_origin("left"),
            "right": self._grasp("right", block.position),
        }

    def _grasp(self, arm: str, point: np.ndarray) -> Command:
        """Takes the upright block from the side whose face looks most towards the arm."""
        reach = self.skills.reach_rotation(arm, point, 0.0)[:, 0]
        quarter = np.arctan2(reach[0], reach[1]) + np.arctan2(*self.block.rotation[[1, 0], 0])
        azimuth = np.arctan2(reach[0], reach[1]) - ((quarter + np.pi / 4) % (np.pi / 2) - np.pi / 4)
        rotation = directed(azimuth, 0.0)
        return self.skills.grasp_point(arm, point, rotation, PREGRASP, along=-rotation[:, 0])

    def _hand_over(self) -> Commands:
        """The left arm holds the block out in the middle; the right arm takes it there, at a right angle."""
        middle = np.array([*HANDOVER[:2], self.scene.table_top + HANDOVER[2]])
        rotation = directed(-np.pi / 4, 0.0)
        if np.linalg.norm(self.block.position - middle) < 0.012:
            right = self.skills.grasp_point("right", self.block.position, rotation, PREGRASP, along=-rotation[:, 0])
        else:
            right = Command(middle - PREGRASP * rotation[:, 0], rotation, OPEN)
        left = self.skills.carry("left", self.block.position, middle, directed(np.pi / 4, 0.0))
        return {"left": left, "right": right}

    def _place(self, left_holds: bool) -> Commands:
        """The left arm lets go and leaves; then the right arm stands the block on the pad."""
        skills = self.skills
        left = skills.tool("left")
        if left_holds or np.linalg.norm((left.position - self.block.position)[:2]) < 0.12:
            wait = skills.hold_still("right")
            right = Command(wait.position, wait.rotation, CLOSED)
        else:
            right = skills.place_actor("right", self.block, self.goal, skills.reach_rotation("right", self.goal, 0.0))
        if left_holds:
            return {"left": Command(left.position, left.rotation, OPEN), "right": right}
        return {"left": skills.retreat("left", self.block), "right": right}

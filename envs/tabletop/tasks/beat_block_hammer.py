"""Beat the block with the hammer.

Asked: grasp the hammer by its handle and bring its striking face down on the block.
Varies: size and handle of the hammer; size, colour, position and yaw of the block; the instruction.
Done: the hammer touches the block, the middle of its face is above the block.

Source: RoboTwin 2.0, envs/beat_block_hammer.py.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.parts import PALETTE, draw
from envs.tabletop.objects.tools import HANDLE_WIDTH, hammer
from envs.tabletop.rotations import directed
from envs.tabletop.scene import upright
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task

HAMMER_XY, HAMMER_YAW = (0.0, -0.02), -2 * np.arctan2(0.105, 0.995)  # m, rad: RoboTwin's fixed pose
HALF_SIDES = (0.021, 0.025)  # m, of the block
COLOURS = ("red", "green", "blue", "yellow", "purple")
BLOCK_AREA = ((-0.25, -0.05), (0.25, 0.15))  # m
MIN_X, HAMMER_DISTANCE = 0.05, 0.07  # m, of the block from the middle line and from the hammer
MAX_YAW = 0.5  # rad
BLOCK_CLEARANCE, HAMMER_CLEARANCE = 0.07, 0.13  # m, half widths of the squares without clutter
HANDLE_XY = (0.0, -0.08)  # m, middle of the hammer's square
ON_BLOCK = 0.02  # m
OVERLAP = 0.005  # m, by which the expert aims below the block's upper side
PITCH = 1.0  # rad below the horizon, of the tool: reaches the far blocks with the handle level


class BeatBlockHammer(Task):
    step_limit = 400
    instructions = (
        "beat the block with the hammer",
        "pick up the hammer and hit the {colour} block",
        "grab the hammer by its handle and bring its head down on the block",
        "take the hammer with the {handle} handle and strike the block",
        "hit the {colour} block with the head of the hammer",
        "use the {arm} arm to grab the hammer and beat the block",
        "lift the hammer with the {arm} arm and bring it down on the block",
        "pound the block with the hammer",
        "grasp the hammer's handle and tap the {colour} block",
        "knock on the {colour} block with the hammer",
    )
    unseen_instructions = (
        "give the {colour} cube a blow with the hammer",
        "let the hammer's face land on the block",
        "with the {arm} hand, hammer the block",
        "the block should be struck by the hammer",
        "raise the hammer over the {colour} cube and lower it onto it",
    )

    def load_actors(self) -> None:
        top = self.scene.table_top
        self.hammer = hammer(self.scene, upright([*HAMMER_XY, top + 0.001], HAMMER_YAW))
        while True:
            spot = self.random_xy(BLOCK_AREA, away_from=self.hammer.position[:2], distance=HAMMER_DISTANCE)
            if abs(spot[0]) >= MIN_X:
                break
        self.half, colour, yaw = draw(self.scene, HALF_SIDES), draw(self.scene, COLOURS), self.random_yaw(MAX_YAW)
        position, half = [*spot, top + self.half], (self.half, self.half, self.half)
        self.block = self.scene.box("block", half, position, PALETTE[colour], yaw, static=True)
        self.block.colour = colour
        self.arm = self.skills.near_arm(self.block)
        self.scene.keep_clear(spot, BLOCK_CLEARANCE)
        self.scene.keep_clear(np.array(HANDLE_XY), HAMMER_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.block.colour, "handle": self.hammer.colour}

    def check_success(self) -> bool:
        offset = np.abs(self.hammer.point("face") - self.block.position)
        return bool(np.all(offset[:2] < ON_BLOCK) and self.scene.touching(self.hammer.name, self.block.name))

    def expert(self) -> Commands:
        handle, face = self.hammer.point("grip"), self.hammer.point("face")
        if self.skills.pinches(self.arm, handle, HANDLE_WIDTH):
            goal = self.block.position + (self.half - OVERLAP) * UP
            rotation = self.skills.reach_rotation(self.arm, self.block.position, PITCH)
            return {self.arm: self.skills.carry(self.arm, face, goal, rotation)}
        x, y = self.hammer.rotation[:2, 1]
        return {self.arm: self.skills.grasp_point(self.arm, handle, directed(np.arctan2(x, y), PITCH))}

"""RoboTwin's beat_block_hammer: take the hammer by its handle and bring its face down on the block."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.parts import PALETTE, draw
from envs.tabletop.objects.tools import HANDLE_WIDTH, hammer
from envs.tabletop.rotations import directed
from envs.tabletop.scene import upright
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task

HALVES, COLOURS = (0.021, 0.025), ("red", "green", "blue", "yellow", "purple")  # m, the block's
PITCH = 1.0  # rad below the horizon: reaches the far blocks with the handle level
ON_BLOCK = 0.02  # m


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
        yaw = np.arctan2(0.105, 0.995) * 2  # RoboTwin's fixed pose
        self.hammer = hammer(self.scene, upright([0.0, -0.02, top + 0.001], -yaw))
        while True:
            spot = self.rng.uniform([-0.25, -0.05], [0.25, 0.15])
            if abs(spot[0]) >= 0.05 and np.linalg.norm(spot - self.hammer.position[:2]) > 0.07:
                break
        self.half, colour, yaw = draw(self.scene, HALVES), draw(self.scene, COLOURS), self.rng.uniform(-0.5, 0.5)
        position, half = [*spot, top + self.half], (self.half, self.half, self.half)
        self.block = self.scene.box("block", half, position, PALETTE[colour], yaw, static=True)
        self.block.colour = colour
        self.arm = self.skills.near_arm(self.block)
        self.scene.keep_clear(spot, 0.07)
        self.scene.keep_clear(np.array([0.0, -0.08]), 0.13)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.block.colour, "handle": self.hammer.colour}

    def check_success(self) -> bool:
        face, block = self.hammer.point("face"), self.block.position
        near = np.all(np.abs(face - block)[:2] < ON_BLOCK)
        return bool(near and self.scene.touching(self.hammer.name, self.block.name))

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        grip = self.hammer.point("grip")
        if self.skills.pinches(self.arm, grip, HANDLE_WIDTH):
            goal = self.block.position + (self.half - 0.005) * UP
            rotation = self.skills.reach_rotation(self.arm, self.block.position, PITCH)
            commands[self.arm] = self.skills.carry(self.arm, self.hammer.point("face"), goal, rotation)
        else:
            x, y = self.hammer.rotation[:2, 1]
            commands[self.arm] = self.skills.grasp_point(self.arm, grip, directed(np.arctan2(x, y), PITCH))
        return commands

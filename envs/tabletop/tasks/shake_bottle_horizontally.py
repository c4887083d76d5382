"""RoboTwin's shake_bottle_horizontally: pick the bottle up, lay it level and shake it along its length."""

from __future__ import annotations

import numpy as np

from envs.tabletop.skills import CLOSED, SLOW, Command
from envs.tabletop.tasks.shake_bottle import ShakeBottle, tilted

LEVEL = 0.35  # largest slope (sine)
SWAY = 0.065  # m, how far the expert swings to each side


class ShakeBottleHorizontally(ShakeBottle):
    span = 0.05  # m
    instructions = (
        "shake the {bottle} horizontally",
        "pick up the {bottle}, lay it level and shake it",
        "take the {colour} {bottle} with the {arm} arm and shake it sideways",
        "hold the {bottle} horizontally and move it to and fro",
        "grab the {bottle} with the {arm} arm, tip it on its side and shake it three times",
        "use the {arm} arm to shake the {colour} {bottle} in a level position",
        "raise the {bottle}, turn it on its side and shake it from left to right",
        "shake the {colour} {bottle} while it lies level in the gripper",
        "lift the {bottle}, tilt it flat and swing it left and right",
        "mix the contents of the level {bottle} by shaking it sideways",
    )
    unseen_instructions = (
        "the {colour} {bottle} needs a sideways shake, lying flat in the hand",
        "slosh the {bottle} left and right, held level",
        "keep the {bottle} horizontal and give it a good shake with the {arm} hand",
        "first lay the {bottle} flat in the air, then shake it along its length",
        "swing the level {colour} {bottle} to the left and to the right",
    )

    def measure(self) -> float:
        """What swings: the bottle's middle, to the right of the expert's place (m)."""
        return float((self.bottle.point("grip") - self.place())[0])

    def in_the_air(self) -> bool:
        """Also level."""
        return super().in_the_air() and bool(abs(self.bottle.rotation[2, 2]) < LEVEL)

    def shake(self, way: int) -> Command:
        """Lifts and lays the bottle level first, its top pointing outwards."""
        held, goal, turn = self.bottle.point("grip"), self.place(), np.pi / 2
        flat = tilted(-turn if self.arm == "left" else turn)
        tool = self.skills.tool(self.arm).position
        if not self.in_the_air():
            return self.skills.lift_to(self.arm, held, goal, flat, clear=0.16)
        return Command(tool + goal - held + [way * SWAY, 0, 0], flat, CLOSED, 1.5 * SLOW)

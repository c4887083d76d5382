"""Pick the bottle up, turn it level and shake it along its length.

Asked: the arm on the bottle's side lifts it, turns its top outwards and moves it to and fro.
Varies: as in shake_bottle.
Done: since it was lifted and level the bottle has been moved to and fro three times, that arm's fingers on it.

Source: RoboTwin 2.0, envs/shake_bottle_horizontally.py, which asks for the lifted bottle only.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.tabletop.skills import CLOSED, SIGN, SLOW, Command
from envs.tabletop.tasks.shake_bottle import ShakeBottle, tilted

LEVEL = 0.35  # largest slope (sine)
SWAY = 0.065  # m, how far the expert swings to each side
SHAKE_SPEED = 1.5 * SLOW  # m per control step
CLEAR = 0.16  # m above the table, up to which the bottle is lifted straight


class ShakeBottleHorizontally(ShakeBottle):
    span: ClassVar[float] = 0.05  # m
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
        """What swings: the bottle's grasp point, to the right of the expert's place (m)."""
        return float((self.bottle.point("grip") - self.shake_at())[0])

    def in_the_air(self) -> bool:
        """Also level."""
        return super().in_the_air() and bool(abs(self.bottle.rotation[2, 2]) < LEVEL)

    def shake(self, direction: int) -> Command:
        """Lifts the bottle and turns it level, its top outwards; then moves it to the left (-1) or right (1)."""
        held, goal, level = self.bottle.point("grip"), self.shake_at(), tilted(SIGN[self.arm] * np.pi / 2)
        if not self.in_the_air():
            return self.skills.lift_to(self.arm, held, goal, level, CLEAR)
        tool = self.skills.tool(self.arm).position
        return Command(tool + goal - held + [direction * SWAY, 0, 0], level, CLOSED, SHAKE_SPEED)

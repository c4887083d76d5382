"""Stamp the coloured square with the seal.

Asked: the arm on the seal's side picks it up by its handle and puts it down on the square.
Varies: shape, size and colour of the seal, colour of the square, the side of the table, positions; the instruction.
Done: the seal rests upright in the middle of the square, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/stamp_seal.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import pad, seal
from envs.tabletop.placing import PlaceTask
from envs.tabletop.task import Commands

SEAL_AREA = ((0.05, -0.05), (0.25, 0.05))  # m, on either side
SQUARE_AREA, DISTANCE = ((0.05, -0.05), (0.25, 0.1)), 0.1  # m, on the same side, and between the two
SQUARE_HALF = (0.035, 0.035)  # m
CLEARANCE = 0.12  # m, half width of the squares without clutter about both
ON_SQUARE, UPRIGHT = 0.01, 0.95  # m, RoboTwin's; cosine
PITCH = 1.0  # rad below the horizon, of the tool


class StampSeal(PlaceTask):
    step_limit = 400
    instructions = (
        "stamp the {square} square with the seal",
        "pick up the {colour} seal and put it on the {square} square",
        "use the {arm} arm to stamp the {square} paper",
        "place the stamp in the middle of the {square} square",
        "grab the seal by its handle and stamp the {square} field",
        "take the {colour} stamp with the {arm} arm and press it on the square",
        "move the seal onto the {square} square and let go",
        "lift the seal and lower it onto the {square} paper",
        "set the {colour} seal down exactly on the {square} square",
        "stamp the square on the table with the {colour} seal",
    )
    unseen_instructions = (
        "the {square} sheet needs a stamp",
        "the {colour} seal belongs on the {square} square",
        "with the {arm} hand, put a seal on the {square} field",
        "certify the {square} paper",
        "make the stamp stand right in the middle of the {square} square",
    )

    def load_actors(self) -> None:
        side = self.random_side()
        spot = self.random_xy(SEAL_AREA, side)
        goal = self.random_xy(SQUARE_AREA, side, away_from=spot, distance=DISTANCE)
        self.object = seal(self.scene, self.scene.on_table(spot))
        self.target = pad(self.scene, self.scene.on_table(goal), SQUARE_HALF, name="square")
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(goal, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.object.colour, "square": self.target.colour}

    def at_target(self) -> bool:
        return bool(np.all(self.offset()[:2] < ON_SQUARE) and self.object.rotation[2, 2] > UPRIGHT)

    def expert(self) -> Commands:
        if self.placed():
            return {}
        return self.place_on_top(self.skills.round_grasp(self.arm, self.object, PITCH), PITCH)

"""Lift the pot with both arms.

Asked: each arm grasps the ear on its side; they lift the pot together.
Varies: looks, position and yaw of the pot; the instruction.
Done: the pot is raised and upright, each tool is at its ear and its fingers touch the pot.

Source: RoboTwin 2.0, envs/lift_pot.py. That the fingers must touch the pot is ours.
"""

from __future__ import annotations

import numpy as np

from envs.constants import ARMS
from envs.tabletop.objects.containers import pot
from envs.tabletop.rotations import rolled
from envs.tabletop.skills import Grasp
from envs.tabletop.task import Commands, Task

POT_AREA, MAX_YAW = ((-0.05, -0.05), (0.05, 0.05)), np.pi / 8  # m; rad
CLEARANCE = 0.2  # m, half width of the square without clutter
LIFTED = 0.08  # m above the table: RoboTwin's 0.82 m above the floor
AT_EAR, UPRIGHT = 0.03, 0.8  # m, cosine: RoboTwin's
PITCH = 0.35  # rad below the horizon, of both tools
STEP = 0.03  # m, by which the expert lifts at once


class LiftPot(Task):
    step_limit = 400
    instructions = (
        "lift the pot with both arms",
        "take the pot by its two handles and lift it",
        "raise the {colour} pot off the table",
        "use both arms to pick up the cooking pot",
        "grab the handles of the {colour} pot and lift it straight up",
        "hold the pot on both sides and raise it",
        "lift the kitchen pot evenly with the left and the right arm",
        "pick the pot up by its handles without tilting it",
        "both grippers take a handle each and lift the pot",
        "lift up the {colour} cooking pot",
    )
    unseen_instructions = (
        "get the pot into the air with two hands",
        "the pot should leave the table, level",
        "one handle for each arm, then up with the {colour} pot",
        "heave the pot off the table",
        "carry the pot upwards by both ears",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(POT_AREA)
        self.pot = pot(self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)))
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"colour": self.pot.colour}

    def check_success(self) -> bool:
        lifted = self.pot.position[2] > self.scene.table_top + LIFTED
        at_ears = all(
            np.linalg.norm(self.skills.tool(arm).position - self.pot.point(arm)) < AT_EAR
            and self.skills.touches(arm, self.pot)
            for arm in ARMS
        )
        return bool(lifted and at_ears and self.pot.rotation[2, 2] > UPRIGHT)

    def expert(self) -> Commands:
        return self.skills.lift_together({arm: self._grasp(arm) for arm in ARMS}, STEP)

    def _grasp(self, arm: str) -> Grasp:
        """One finger above the ear, the other below it."""
        ear = self.pot.point(arm)
        rotation = rolled(self.skills.reach_rotation(arm, ear, PITCH), np.pi / 2)
        return Grasp(ear, rotation, self.pot.width, opening=0.5)

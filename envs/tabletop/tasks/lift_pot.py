"""RoboTwin's lift_pot: both arms take the pot by its ears and lift it, level."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.containers import pot
from envs.tabletop.rotations import rolled
from envs.tabletop.skills import Grasp
from envs.tabletop.task import Commands, Task

RISE = 0.08  # m, RoboTwin's 0.82 m above its table
AT_EAR, UPRIGHT = 0.03, 0.8  # m, cosine: RoboTwin's
PITCH = 0.35  # rad below the horizon


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
        spot = self.rng.uniform([-0.05, -0.05], [0.05, 0.05])
        yaw = self.rng.uniform(-np.pi / 8, np.pi / 8)
        self.pot = pot(self.scene, self.scene.on_table(spot, yaw))
        self.scene.keep_clear(spot, 0.2)

    def slots(self) -> dict[str, str]:
        return {"colour": self.pot.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate: lifted, upright, each tool at its ear."""
        lifted = self.pot.position[2] > self.scene.table_top + RISE
        at_ears = all(
            np.linalg.norm(self.skills.tool(arm).position - self.pot.point(arm)) < AT_EAR and self.pot_held(arm)
            for arm in kin.ARMS
        )
        return bool(lifted and at_ears and self.pot.rotation[2, 2] > UPRIGHT)

    def pot_held(self, arm: str) -> bool:
        """Whether the fingers of an arm touch the pot."""
        return bool(self.scene.touching(f"{arm}_finger*", self.pot.name))

    def expert(self) -> Commands:
        return self.skills.lift_together({arm: self._grip(arm) for arm in kin.ARMS}, rise=0.03)

    def _grip(self, arm: str) -> Grasp:
        """One finger above the ear, the other below it."""
        ear = self.pot.point(arm)
        rotation = rolled(self.skills.reach_rotation(arm, ear, PITCH), np.pi / 2)
        return Grasp(ear, rotation, self.pot.width, opening=0.5)

"""RoboTwin's press_stapler: press the stapler with a closed gripper."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import stapler
from envs.tabletop.task import Commands, Task

NEAR_TOP = (0.03, 0.03, 0.03)  # m, RoboTwin's
PITCH = 1.3  # rad below the horizon


class PressStapler(Task):
    step_limit = 400
    instructions = (
        "press the stapler",
        "push the top of the {colour} stapler down",
        "use the {arm} arm to press the stapler",
        "staple with the stapler on the table",
        "close the {arm} gripper and press the stapler from above",
        "push down on the stapler",
        "press the {colour} stapler with the {arm} arm",
        "bring the closed gripper down on the stapler",
        "operate the stapler by pressing on it",
        "give the stapler a push from above",
    )
    unseen_instructions = (
        "make the stapler staple",
        "the {colour} stapler wants pressing",
        "squeeze the stapler against the table with the {arm} hand",
        "touch down on top of the stapler",
        "use the stapler once",
    )

    def load_actors(self) -> None:
        spot = self.rng.uniform([-0.2, -0.1], [0.2, 0.05])
        yaw = self.rng.uniform(-np.pi, np.pi)
        self.stapler = stapler(self.scene, self.scene.on_table(spot, yaw), static=True)
        self.arm = self.skills.near_arm(self.stapler)
        self.scene.keep_clear(spot, 0.12)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.stapler.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, fingers on the stapler near its top, and these are closed."""
        if self.skills.tool(self.arm).opening > 0.35:
            return False
        top = self.stapler.point("top")
        points = self.scene.touching(f"{self.arm}_finger*", self.stapler.name)
        return any(bool(np.all(np.abs(point - top) < NEAR_TOP)) for point in points)

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        top = self.stapler.point("top")
        commands[self.arm] = self.skills.press(self.arm, top, self.skills.reach_rotation(self.arm, top, PITCH))
        return commands

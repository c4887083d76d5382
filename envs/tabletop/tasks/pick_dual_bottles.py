"""RoboTwin's pick_dual_bottles: each arm picks up one bottle and brings it to the middle."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.tableware import bottle
from envs.tabletop.scene import Body
from envs.tabletop.task import Commands, Task

AT_GOAL, HEIGHT = 0.1, 0.15  # m, RoboTwin's: beside its goal, above the table
GOAL = np.array([0.075, -0.105, 0.19])  # m, of the right hand, above the table
UPRIGHT = 0.85  # cosine
PITCH = 0.35  # rad below the horizon


class PickDualBottles(Task):
    step_limit = 400
    instructions = (
        "pick up both bottles and bring them together",
        "lift the {left} bottle with the left arm and the {right} bottle with the right arm",
        "grab one bottle with each arm and hold them up in front",
        "take both bottles from the table at the same time",
        "use both arms to raise the two bottles to the middle",
        "pick the {left} bottle and the {right} bottle up and hold them side by side",
        "each arm takes a bottle and lifts it",
        "hold up the two bottles, one in each gripper",
        "get the {left} and the {right} bottle off the table with two arms",
        "lift both bottles and move them towards you",
    )
    unseen_instructions = (
        "the two bottles should meet in mid-air",
        "one bottle per hand, and up with them",
        "left hand for the {left} bottle, right hand for the {right} one, then hold them before you",
        "bring the pair of bottles up to the front",
        "no bottle should remain on the table",
    )

    def load_actors(self) -> None:
        self.bottles = {arm: self._put(arm, -1 if arm == "left" else 1) for arm in kin.ARMS}
        self.scene.keep_clear(np.array([-0.1, -0.11]), 0.1)
        self.scene.keep_clear(np.array([0.1, -0.11]), 0.1)

    def _put(self, arm: str, side: int) -> Body:
        """Stands the bottle of one arm on its side of the table."""
        spot = self.rng.uniform([0.05, 0.03], [0.25, 0.23]) * [side, 1]
        self.scene.keep_clear(spot, 0.1)
        return self.make(f"{arm}_bottle", spot)

    def make(self, name: str, spot: np.ndarray) -> Body:
        """Draws a bottle."""
        return bottle(self.scene, self.scene.on_table(spot, self.rng.uniform(-1, 1)), name)

    def slots(self) -> dict[str, str]:
        return {arm: body.colour for arm, body in self.bottles.items()}

    def goal(self, arm: str) -> np.ndarray:
        """Where an arm holds its bottle's grip (m, scene)."""
        return GOAL * [1 if arm == "right" else -1, 1, 1] + [0, 0, self.scene.table_top]

    def check_success(self) -> bool:
        """RoboTwin's predicate: both bottles at their goals; and upright, each in its gripper."""
        for arm, body in self.bottles.items():
            offset = body.point("grip") - self.goal(arm)
            at_goal = np.all(np.abs(offset[:2]) < AT_GOAL) and body.point("grip")[2] > self.scene.table_top + HEIGHT
            held = self.scene.touching(f"{arm}_finger*", body.name)
            if not (at_goal and held and body.rotation[2, 2] > UPRIGHT):
                return False
        return True

    def expert(self) -> Commands:
        commands: Commands = {}
        for arm, body in self.bottles.items():
            grip = self.skills.round_grasp(arm, body, PITCH)
            if self.skills.holds(arm, grip):
                rotation = self.skills.reach_rotation(arm, self.goal(arm), PITCH)
                commands[arm] = self.skills.lift_to(arm, grip.point, self.goal(arm), rotation)
            else:
                commands[arm] = self.skills.grasp_actor(arm, grip)
        return commands

"""Pick up two bottles, one with each arm, and hold them up in the middle.

Asked: each arm grasps the bottle on its side, lifts it and brings it to the middle.
Varies: size and colour, position and yaw of both bottles; the instruction.
Done: both bottles are upright and raised near the middle, each touched by the fingers of its arm.

Source: RoboTwin 2.0, envs/pick_dual_bottles.py. That they must be upright and in the grippers is ours.
"""

from __future__ import annotations

import numpy as np

from envs.constants import ARMS
from envs.tabletop.objects.tableware import bottle
from envs.tabletop.scene import Body
from envs.tabletop.skills import SIGN, Command
from envs.tabletop.task import Commands, Task

BOTTLE_AREA, MAX_YAW = ((0.05, 0.03), (0.25, 0.23)), 1.0  # m, on the arm's side; rad
CLEARANCE = 0.1  # m, half width of the squares without clutter about bottles and goals
GOAL_SQUARE = np.array([0.1, -0.11])  # m, middle of the right goal's square
AT_GOAL, LIFTED = 0.1, 0.15  # m, RoboTwin's: beside its goal, above the table
GOAL = np.array([0.075, -0.105, 0.19])  # m, of the grasp point: for the right arm, above the table
UPRIGHT = 0.85  # cosine
PITCH = 0.35  # rad below the horizon, of both tools


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
        self.bottles: dict[str, Body] = {}
        self.descriptions: dict[str, str] = {}
        for arm in ARMS:
            spot = self.random_xy(BOTTLE_AREA, SIGN[arm])
            self.scene.keep_clear(spot, CLEARANCE)
            self.bottles[arm], self.descriptions[arm] = self.load_bottle(f"{arm}_bottle", spot)
        for arm in ARMS:
            self.scene.keep_clear(GOAL_SQUARE * [SIGN[arm], 1], CLEARANCE)

    def load_bottle(self, name: str, spot: np.ndarray) -> tuple[Body, str]:
        """Spawns a bottle at `spot` [2] (m); returns it and what instructions call it."""
        body = bottle(self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)), name)
        return body, body.colour

    def slots(self) -> dict[str, str]:
        return self.descriptions

    def goal(self, arm: str) -> np.ndarray:
        """Where an arm holds its bottle's grasp point (m, scene)."""
        return self.skills.mirrored(arm, GOAL)

    def check_success(self) -> bool:
        return all(self._is_up(arm, body) for arm, body in self.bottles.items())

    def _is_up(self, arm: str, body: Body) -> bool:
        """RoboTwin's predicate for one bottle; and it is upright, in its gripper."""
        grip = body.point("grip")
        at_goal = np.all(np.abs(grip - self.goal(arm))[:2] < AT_GOAL) and grip[2] > self.scene.table_top + LIFTED
        return bool(at_goal and body.rotation[2, 2] > UPRIGHT and self.skills.touches(arm, body))

    def expert(self) -> Commands:
        return {arm: self._pick(arm, body) for arm, body in self.bottles.items()}

    def _pick(self, arm: str, body: Body) -> Command:
        grasp, goal = self.skills.round_grasp(arm, body, PITCH), self.goal(arm)
        if self.skills.holds(arm, grasp):
            return self.skills.lift_to(arm, grasp.point, goal, self.skills.reach_rotation(arm, goal, PITCH))
        return self.skills.grasp_actor(arm, grasp)

"""Put three bottles into the dustbin at the left of the table.

Asked: the left arm drops the bottles into the dustbin, the nearest first; a bottle on the right is first brought to the
middle by the right arm.
Varies: looks, position and yaw of the bottles, looks of the dustbin; the instruction.
Done: all bottles are at rest inside the dustbin.

Source: RoboTwin 2.0, envs/put_bottles_dustbin.py. That they must be at rest is ours.
"""

from __future__ import annotations

import numpy as np

from envs.constants import ARMS, other_arm
from envs.contacts import REST_SPEED
from envs.tabletop.dustbin import in_dustbin, load_dustbin
from envs.tabletop.objects.tableware import bottle
from envs.tabletop.scene import Body
from envs.tabletop.skills import Command, Grasp
from envs.tabletop.task import Commands, Task, listed

NUMBER = 3
BOTTLE_AREA = ((-0.25, 0.03), (0.3, 0.23))  # m
MIN_X, DISTANCE = 0.05, 0.13  # m, from the middle line and between two bottles, RoboTwin's
BOTTLE_CLEARANCE, PATH_CLEARANCE = 0.1, 0.12  # m, half widths of the squares without clutter; on the arm's way
MIDDLE = np.array([-0.04, -0.13])  # m, where the right arm leaves a bottle for the left one
DROP_HEIGHT, DROP_STEP = 0.04, 0.06  # m, above the dustbin's mouth; along y from one bottle to the next
OVER_BOTTLES = 0.24  # m above the goal, clear of the other bottles
PITCH = 0.3  # rad below the horizon, of both tools


class PutBottlesDustbin(Task):
    step_limit = 1700
    instructions = (
        "put the bottles into the dustbin",
        "throw all three bottles in the {bin} dustbin on the left",
        "drop the {colours} bottles into the bin beside the table",
        "clear the bottles off the table into the dustbin",
        "pick up the bottles one by one and put them in the trash can",
        "let the left arm throw the bottles away; the right arm passes on those it reaches",
        "use both arms to get every bottle into the dustbin",
        "move the three bottles to the {bin} bin at the left of the table",
        "throw the bottles away",
        "take each bottle and let it fall into the dustbin",
    )
    unseen_instructions = (
        "no bottle should be left on the table",
        "the {colours} bottles are rubbish: bin them",
        "empty the table of bottles, the {bin} bin is on the left",
        "dispose of all three bottles",
        "all bottles belong in the trash at the table's left edge",
    )

    def load_actors(self) -> None:
        self.dustbin = load_dustbin(self.scene)
        spots: list[np.ndarray] = []
        while len(spots) < NUMBER:
            spot = self.random_xy(BOTTLE_AREA)
            if abs(spot[0]) >= MIN_X and all(np.linalg.norm(spot - other) > DISTANCE for other in spots):
                spots.append(spot)
        self.bottles: list[Body] = []
        for i, spot in enumerate(spots):
            body = bottle(self.scene, self.scene.on_table(spot, self.random_yaw()), name=f"bottle{i}")
            self.bottles.append(body)
            self.scene.keep_clear(spot, BOTTLE_CLEARANCE)
            base = self.scene.arms[self.skills.near_arm(body)].base.p[:2]
            self.scene.keep_clear((spot + base) / 2, PATH_CLEARANCE)
        self.scene.keep_clear(MIDDLE, BOTTLE_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"bin": self.dustbin.colour, "colours": listed(body.colour for body in self.bottles)}

    def check_success(self) -> bool:
        return all(in_dustbin(self.dustbin, body) and body.speed < REST_SPEED for body in self.bottles)

    def expert(self) -> Commands:
        skills = self.skills
        todo = [body for body in self.bottles if not in_dustbin(self.dustbin, body)]
        if not todo:
            return {}
        held = [(arm, body) for body in todo for arm in ARMS if skills.holds(arm, self._grasp(arm, body))]
        choices = [(skills.near_arm(body), body) for body in todo]
        arm, body = held[0] if held else min(choices, key=lambda choice: self._rank(*choice))
        other = other_arm(arm)
        near = min(todo, key=lambda b: float(np.linalg.norm((b.position - skills.tool(other).position)[:2])))
        commands = {other: skills.retreat(other, near)}
        if held:
            commands[arm] = self._place(arm, body)
        elif skills.out_of_the_way(other):
            commands[arm] = skills.grasp_actor(arm, self._grasp(arm, body))
        return commands

    def _grasp(self, arm: str, body: Body) -> Grasp:
        return self.skills.round_grasp(arm, body, PITCH)

    def _rank(self, arm: str, body: Body) -> tuple[bool, float]:
        """Order of the bottles: the left arm's first, the nearest first."""
        return arm == "right", float(np.linalg.norm((body.position - self.scene.arms[arm].base.p)[:2]))

    def _place(self, arm: str, body: Body) -> Command:
        """The right arm puts a bottle down in the middle, the left one drops it into the dustbin."""
        if arm == "right":
            goal = np.array([*MIDDLE, self.scene.table_top + 0.003])
        else:
            row = DROP_STEP * (self.bottles.index(body) - 1)
            goal = self.dustbin.point("mouth") + np.array([0.0, row, DROP_HEIGHT])
        rotation = self.skills.reach_rotation(arm, goal, PITCH)
        return self.skills.place_actor(arm, body, goal, rotation, hover=OVER_BOTTLES)

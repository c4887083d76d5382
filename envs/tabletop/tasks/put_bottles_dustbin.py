"""RoboTwin's put_bottles_dustbin: three bottles go into the dustbin at the left, those on the right by both arms."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.dustbin import in_dustbin, load_dustbin
from envs.tabletop.objects.tableware import bottle
from envs.tabletop.scene import Body
from envs.tabletop.skills import Grasp
from envs.tabletop.task import Commands, Task, listed

APART = 0.13  # m, RoboTwin's
RELAY = np.array([-0.04, -0.13])  # m, where the right arm leaves a bottle for the left one
PITCH = 0.3  # rad below the horizon
OVER_BOTTLES = 0.24  # m


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
        while len(spots) < 3:
            spot = self.rng.uniform([-0.25, 0.03], [0.3, 0.23])
            if abs(spot[0]) >= 0.05 and all(np.linalg.norm(spot - other) > APART for other in spots):
                spots.append(spot)
        self.bottles: list[Body] = []
        for i, spot in enumerate(spots):
            yaw = self.rng.uniform(-np.pi, np.pi)
            self.bottles.append(bottle(self.scene, self.scene.on_table(spot, yaw), name=f"bottle{i}"))
            self.scene.keep_clear(spot, 0.1)
            base = self.scene.arms[self.skills.near_arm(self.bottles[-1])].base.p[:2]
            self.scene.keep_clear((spot + base) / 2, 0.12)  # the way in
        self.scene.keep_clear(RELAY, 0.1)

    def slots(self) -> dict[str, str]:
        return {"bin": self.dustbin.colour, "colours": listed(b.colour for b in self.bottles)}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and every bottle has come to rest in the dustbin."""
        return all(in_dustbin(self.dustbin, b) and b.speed < REST_SPEED for b in self.bottles)

    def expert(self) -> Commands:
        skills = self.skills
        commands = {arm: skills.back_to_origin(arm) for arm in kin.ARMS}
        left = [b for b in self.bottles if not in_dustbin(self.dustbin, b)]
        if not left:
            return commands
        held = [(arm, b) for b in left for arm in kin.ARMS if self._holds(arm, b)]
        arm, body = held[0] if held else min(((skills.near_arm(b), b) for b in left), key=lambda job: self._rank(*job))
        other = kin.ARMS[1 - kin.ARMS.index(arm)]
        near = min(left, key=lambda b: float(np.linalg.norm((b.position - skills.tool(other).position)[:2])))
        commands[other] = skills.retreat(other, near)
        if not held:
            if skills.out_of_the_way(other):
                commands[arm] = skills.grasp_actor(arm, self._grip(arm, body))
            return commands
        if arm == "right":
            goal = np.array([*RELAY, self.scene.table_top + 0.003])
        else:
            row = 0.06 * (self.bottles.index(body) - 1)
            goal = self.dustbin.point("mouth") + np.array([0.0, row, 0.04])
        turn = skills.reach_rotation(arm, goal, PITCH)
        commands[arm] = skills.place_actor(arm, body, goal, turn, hover=OVER_BOTTLES)
        return commands

    def _grip(self, arm: str, body: Body) -> Grasp:
        return self.skills.round_grasp(arm, body, PITCH)

    def _holds(self, arm: str, body: Body) -> bool:
        grip = self._grip(arm, body)
        return self.skills.holds(arm, grip)

    def _rank(self, arm: str, body: Body) -> tuple[bool, float]:
        """The left arm's bottles first, the nearest first."""
        return arm == "right", float(np.linalg.norm((body.position - self.scene.arms[arm].base.p)[:2]))

"""RoboTwin's stack_bowls_two: stack two equal bowls in the middle."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np

from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.objects.tableware import bowl
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task, listed

MIDDLE = np.array([0.0, -0.1])  # m, where the lowest bowl goes
OFF_AXIS, HEIGHT = 0.04, 0.02  # m, RoboTwin's
APART = 0.16  # m; RoboTwin's 0.13, but some of our bowls are larger
PITCH = 1.2  # rad below the horizon


class StackBowlsTwo(Task):
    step_limit = 900
    instructions = (
        "stack the two bowls",
        "put one bowl into the other",
        "stack the {colours} bowls in the middle of the table",
        "move a bowl to the middle and place the other one in it",
        "nest the two bowls in each other",
        "make a stack of the {colours} bowls",
        "pick up the bowls by their rims and stack them",
        "pile the two bowls up",
        "bring both bowls to the middle, one on top of the other",
        "use {arms} to stack the bowls",
    )
    unseen_instructions = (
        "the two bowls should stand in one another",
        "tidy the {colours} bowls into a stack",
        "one bowl belongs inside the other one",
        "turn the two bowls into a small pile with {arms}",
        "collect the bowls in a stack in the centre",
    )
    number: ClassVar[int] = 2

    def load_actors(self) -> None:
        spots: list[np.ndarray] = []
        while len(spots) < self.number:
            spot = self.rng.uniform([-0.3, -0.15], [0.3, 0.15])
            if abs(spot[0]) < 0.15:
                spot[1] = self.rng.uniform(-0.15, 0.0)
            if abs(spot[0]) >= 0.09 and all(np.linalg.norm(spot - other) > APART for other in [MIDDLE, *spots]):
                spots.append(spot)
        self.bowls: list[Body] = []  # from the bottom up: the front one first
        for i, spot in enumerate(sorted(spots, key=lambda s: s[1])):
            like = self.bowls[0] if self.bowls else None
            self.bowls.append(bowl(self.scene, self.scene.on_table(spot), name=f"bowl{i}", like=like))
            self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(MIDDLE, 0.12)
        self.arms = [self.skills.near_arm(b) for b in self.bowls]

    def slots(self) -> dict[str, str]:
        arms = "both arms" if len(set(self.arms)) == 2 else f"the {self.arms[0]} arm"
        return {"colours": listed(b.colour for b in self.bowls), "arms": arms}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and each upright bowl stands in another, let go."""
        bowls = sorted(self.bowls, key=lambda b: b.position[2])
        stacked = all(
            np.all(np.abs(upper.position - lower.point("nested")) < [OFF_AXIS, OFF_AXIS, HEIGHT])
            and upper.rotation[2, 2] > 0.95
            and upper.speed < REST_SPEED
            and self.scene.touching(upper.name, lower.name)
            for lower, upper in itertools.pairwise(bowls)
        )
        let_go = self.skills.all_open() and not any(self.scene.fingers_on(b.name) for b in bowls)
        return bool(stacked and let_go and abs(bowls[0].position[2] - self.scene.table_top) < HEIGHT)

    def expert(self) -> Commands:
        errands, goal = [], np.array([*MIDDLE, self.scene.table_top + 0.002])
        for arm, body in zip(self.arms, self.bowls, strict=True):
            offset = body.position - goal
            done = bool(np.linalg.norm(offset[:2]) < 0.025 and abs(offset[2]) < 0.012)
            rotation = self.skills.reach_rotation(arm, goal, PITCH)
            grip = self.skills.rim_grasp(arm, body, PITCH)
            errands.append(PickPlace(arm, body, grip, goal + 0.003 * UP, rotation, done, hover=0.1))
            goal = (body if done else errands[0].body).point("nested")
        return place_in_turn(self.skills, errands)

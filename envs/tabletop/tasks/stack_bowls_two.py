"""Stack two bowls of equal size.

Asked: each bowl is picked up at its rim by the arm on its side; the front one is put down in the middle, the other one
into it.
Varies: size of the bowls, colour and position of each; the instruction.
Done: each upper bowl is upright and still in the one below, the lowest is on the table, both grippers are open and no
finger touches a bowl.

Source: RoboTwin 2.0, envs/stack_bowls_two.py. That the bowls must be upright, still and untouched is ours.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np

from envs.contacts import REST_SPEED
from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.objects.tableware import bowl
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task, listed, named_arms

MIDDLE = np.array([0.0, -0.1])  # m, where the lowest bowl goes
BOWL_AREA = ((-0.3, -0.15), (0.3, 0.15))  # m
INNER_X, INNER_Y = 0.15, (-0.15, 0.0)  # m: nearer to the middle line than that y is drawn from this range
MIN_X = 0.09  # m, from the middle line
DISTANCE = 0.16  # m, between bowls and from the middle; RoboTwin's 0.13, but some of our bowls are larger
CLEARANCE = 0.12  # m, half width of the squares without clutter about the bowls and the middle
IN_BOWL, HEIGHT, UPRIGHT = (0.04, 0.04, 0.02), 0.02, 0.95  # m, m, RoboTwin's; cosine
DONE, DONE_HEIGHT = 0.025, 0.012  # m: nearer to its goal the expert leaves a bowl alone
ON_TABLE, RELEASE_HEIGHT = 0.002, 0.003  # m, the lowest bowl's goal above the table; above each goal
PITCH = 1.2  # rad below the horizon, of both tools


class StackBowlsTwo(Task):
    step_limit = 900
    number: ClassVar[int] = 2
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

    def load_actors(self) -> None:
        spots: list[np.ndarray] = []
        while len(spots) < self.number:
            spot = self.random_xy(BOWL_AREA)
            if abs(spot[0]) < INNER_X:
                spot[1] = self.rng.uniform(*INNER_Y)
            if abs(spot[0]) >= MIN_X and all(np.linalg.norm(spot - other) > DISTANCE for other in [MIDDLE, *spots]):
                spots.append(spot)
        self.bowls: list[Body] = []  # from the bottom up: the front one first
        for i, spot in enumerate(sorted(spots, key=lambda s: s[1])):
            like = self.bowls[0] if self.bowls else None
            self.bowls.append(bowl(self.scene, self.scene.on_table(spot), name=f"bowl{i}", like=like))
            self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(MIDDLE, CLEARANCE)
        self.arms = [self.skills.near_arm(body) for body in self.bowls]

    def slots(self) -> dict[str, str]:
        return {"colours": listed(body.colour for body in self.bowls), "arms": named_arms(self.arms)}

    def check_success(self) -> bool:
        bowls = sorted(self.bowls, key=lambda body: body.position[2])
        on_table = abs(bowls[0].position[2] - self.scene.table_top) < HEIGHT
        nested = all(self._nested(upper, lower) for lower, upper in itertools.pairwise(bowls))
        return bool(on_table and nested and all(self.skills.released(body) for body in bowls))

    def _nested(self, upper: Body, lower: Body) -> bool:
        """RoboTwin's predicate for two bowls; and the upper one is upright and still in the lower one."""
        return bool(
            np.all(np.abs(upper.position - lower.point("nested")) < IN_BOWL)
            and upper.rotation[2, 2] > UPRIGHT
            and upper.speed < REST_SPEED
            and self.scene.touching(upper.name, lower.name)
        )

    def expert(self) -> Commands:
        jobs: list[PickPlace] = []
        goal = np.array([*MIDDLE, self.scene.table_top + ON_TABLE])
        for arm, body in zip(self.arms, self.bowls, strict=True):
            offset = body.position - goal
            done = bool(np.linalg.norm(offset[:2]) < DONE and abs(offset[2]) < DONE_HEIGHT)
            rotation = self.skills.reach_rotation(arm, goal, PITCH)
            grasp = self.skills.rim_grasp(arm, body, PITCH)
            jobs.append(PickPlace(arm, body, grasp, goal + RELEASE_HEIGHT * UP, rotation, done, hover=0.1))
            goal = (body if done else self.bowls[0]).point("nested")
        return place_in_turn(self.skills, jobs)

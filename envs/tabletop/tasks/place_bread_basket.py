"""Put two pieces of bread into the basket.

Asked: each piece is put in by the arm on its side, the front one first.
Varies: looks, position and yaw of the breads, which may be on one side; looks and yaw of the basket; the instruction.
Done: both pieces lie still in the basket, on it or on each other, both grippers are open and no finger touches a piece.

Source: RoboTwin 2.0, envs/place_bread_basket.py. That they must lie still there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.contacts import REST_SPEED
from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.objects.containers import bread_basket
from envs.tabletop.objects.food import bread
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task, listed, named_arms

BASKET_XY = np.array([0.0, -0.2])  # m
BREAD_AREA = ((-0.27, -0.2), (0.27, 0.05))  # m
MIN_X, DISTANCE = 0.19, 0.13  # m, from the middle line and between two; RoboTwin's 0.15 and 0.1 are too near for ours
BREAD_YAW, MAX_TURN = np.pi / 2, np.pi / 4  # rad: a piece lies along y, about so far
BASKET_CLEARANCE, BREAD_CLEARANCE = 0.17, 0.1  # m, half widths of the squares without clutter
IN_BASKET = 0.05  # m, RoboTwin's
APART = 0.03  # m, of each piece from the middle of the basket
DROP = 0.006  # m above the basket's edge


class PlaceBreadBasket(Task):
    step_limit = 700
    instructions = (
        "put the bread into the basket",
        "place both pieces of bread in the bread basket",
        "pick up the {colours} bread and put it in the basket",
        "move all the bread from the table into the wicker basket",
        "use {arms} to put the bread in the basket",
        "fill the basket with the two pieces of bread",
        "gather the bread in the basket",
        "take each piece of bread and lay it in the basket",
        "drop the {colours} pieces of bread into the bread basket",
        "collect the two breads in the basket in the middle",
    )
    unseen_instructions = (
        "the bread belongs in the basket",
        "with {arms}, clear the bread off the table into the basket",
        "no bread should be left beside the basket",
        "serve the bread: both pieces go into the wicker basket",
        "get the {colours} bread together in the basket",
    )

    def load_actors(self) -> None:
        self.basket = bread_basket(self.scene, self.scene.on_table(BASKET_XY, self.rng.uniform(0, np.pi)))
        self.scene.keep_clear(BASKET_XY, BASKET_CLEARANCE)
        spots: list[np.ndarray] = []
        while len(spots) < 2:
            spot = self.random_xy(BREAD_AREA)
            if abs(spot[0]) >= MIN_X and all(np.linalg.norm(spot - other) > DISTANCE for other in spots):
                spots.append(spot)
        self.breads: list[Body] = []
        for i, spot in enumerate(spots):
            yaw = BREAD_YAW + self.random_yaw(MAX_TURN)
            self.breads.append(bread(self.scene, self.scene.on_table(spot, yaw), name=f"bread{i}"))
            self.scene.keep_clear(spot, BREAD_CLEARANCE)
        self.breads.sort(key=lambda piece: piece.position[1])
        self.arms = [self.skills.near_arm(piece) for piece in self.breads]

    def slots(self) -> dict[str, str]:
        return {"colours": listed(piece.colour for piece in self.breads), "arms": named_arms(self.arms)}

    def inside(self, piece: Body) -> bool:
        """RoboTwin's predicate for one piece, below the basket's edge."""
        offset = piece.position - self.basket.position
        return bool(np.all(np.abs(offset[:2]) < IN_BASKET) and offset[2] < self.basket.points["edge"][2])

    def check_success(self) -> bool:
        return all(
            self.inside(piece) and piece.speed < REST_SPEED and self.skills.released(piece) and self._supported(piece)
            for piece in self.breads
        )

    def _supported(self, piece: Body) -> bool:
        """Whether the piece touches the basket or the other piece."""
        supports = [body for body in (self.basket, *self.breads) if body is not piece]
        return any(self.scene.touching(piece.name, support.name) for support in supports)

    def expert(self) -> Commands:
        jobs = []
        for arm, piece, half in zip(self.arms, self.breads, self._halves(), strict=True):
            goal = self.basket.point("edge") + DROP * UP + half * APART * self.basket.rotation[:, 1]
            rotation = self.skills.long_grasp(arm, self.basket, point="inside").rotation
            grasp, done = self.skills.long_grasp(arm, piece), self.inside(piece)
            jobs.append(PickPlace(arm, piece, grasp, goal, rotation, done, twist=0.15, hover=0.05))
        return place_in_turn(self.skills, jobs)

    def _halves(self) -> list[int]:
        """The half of the basket for each piece, as a sign along its y axis: the second takes what the first left."""
        first, second = (self.basket.rotation[:, 1] @ (b.position - self.basket.position) for b in self.breads)
        if self.inside(self.breads[0]):
            return [1, -1 if first > 0 else 1]
        return [1 if first - second > 0 else -1, 1]

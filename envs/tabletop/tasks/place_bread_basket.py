"""RoboTwin's place_bread_basket: put both pieces of bread into the basket, each with the arm on its side."""

from __future__ import annotations

import numpy as np

from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.objects.containers import bread_basket
from envs.tabletop.objects.food import bread
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task, listed

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
        spot = np.array([0.0, -0.2])
        self.basket = bread_basket(self.scene, self.scene.on_table(spot, self.rng.uniform(0, np.pi)))
        self.scene.keep_clear(spot, 0.17)
        self.breads: list[Body] = []
        spots: list[np.ndarray] = []
        while len(spots) < 2:  # RoboTwin: from 0.15, 0.1 apart, where our basket and breads would meet
            spot = self.rng.uniform([-0.27, -0.2], [0.27, 0.05])
            if abs(spot[0]) >= 0.19 and all(np.linalg.norm(spot - other) > 0.13 for other in spots):
                spots.append(spot)
        for i, spot in enumerate(spots):
            yaw = np.pi / 2 + self.rng.uniform(-np.pi / 4, np.pi / 4)
            self.breads.append(bread(self.scene, self.scene.on_table(spot, yaw), name=f"bread{i}"))
            self.scene.keep_clear(spot, 0.1)
        self.breads.sort(key=lambda b: b.position[1])  # the front one first
        self.arms = [self.skills.near_arm(b) for b in self.breads]

    def slots(self) -> dict[str, str]:
        arms = "both arms" if len(set(self.arms)) == 2 else f"the {self.arms[0]} arm"
        return {"colours": listed(b.colour for b in self.breads), "arms": arms}

    def inside(self, piece: Body) -> bool:
        """RoboTwin's predicate for one piece, below the basket's edge."""
        offset = piece.position - self.basket.position
        return bool(np.all(np.abs(offset[:2]) < IN_BASKET) and offset[2] < self.basket.points["edge"][2])

    def check_success(self) -> bool:
        """RoboTwin's predicate, and both lie in the basket, let go."""
        at_rest = all(
            self.inside(b) and b.speed < REST_SPEED and not self.scene.fingers_on(b.name) and self._carried(b)
            for b in self.breads
        )
        return bool(at_rest and self.skills.all_open())

    def _carried(self, piece: Body) -> bool:
        """Whether the piece rests on the basket or on the other piece."""
        return any(self.scene.touching(piece.name, b.name) for b in [self.basket, *self.breads] if b is not piece)

    def expert(self) -> Commands:
        errands = []
        for arm, piece, sign in zip(self.arms, self.breads, self._sides(), strict=True):
            goal = self.basket.point("edge") + DROP * UP + sign * APART * self.basket.rotation[:, 1]
            rotation = self.skills.long_grasp(arm, self.basket, point="inside").rotation
            grip, done = self.skills.long_grasp(arm, piece), self.inside(piece)
            errands.append(PickPlace(arm, piece, grip, goal, rotation, done, twist=0.15, hover=0.05))
        return place_in_turn(self.skills, errands)

    def _sides(self) -> list[int]:
        """The half of the basket for each piece: that of the second is the other one of the first's."""
        first, second = (self.basket.rotation[:, 1] @ (b.position - self.basket.position) for b in self.breads)
        if self.inside(self.breads[0]):
            return [1, -1 if first > 0 else 1]
        return [1 if first - second > 0 else -1, 1]

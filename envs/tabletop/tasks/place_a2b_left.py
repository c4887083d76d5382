"""Put one object to the left of another.

Asked: the arm on the object's side picks it up and puts it down left of the target, in line with it.
Varies: object and target (of four and seven kinds), their looks, positions and yaws; the instruction.
Done: the object is upright and still on the table, 8 to 20 cm left of the target, at most 5 cm before or behind it,
both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/place_a2b_left.py. That it must be upright, still and untouched is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from envs.contacts import REST_SPEED
from envs.tabletop.objects.food import bread, burger, fries
from envs.tabletop.objects.office import stapler, tea_box, toy_car
from envs.tabletop.objects.tools import bell
from envs.tabletop.rotations import directed
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task

OBJECTS: dict[str, Callable[..., Body]] = {"stapler": stapler, "tea box": tea_box, "bread": bread, "toy car": toy_car}
TARGETS = OBJECTS | {"bell": bell, "burger": burger, "carton of fries": fries}
OBJECT_AREA = ((-0.22, -0.2), (0.22, 0.0))  # m
MIDDLE_X, OUTER_X, TARGET_Y = (-0.1, 0.1), (0.18, 0.23), (-0.2, 0.0)  # m, ranges of the target
MIN_X = 0.03  # m, of the object from the middle line
MIN_DISTANCE, MIN_OFFSET_Y = 0.13, 0.1  # m, between the two; by its y the object is not beside the target yet
CLEARANCE = 0.12  # m, half width of the squares without clutter about object, target and goal
NEAR, FAR, ABREAST = 0.08, 0.2, 0.05  # m, RoboTwin's: distance, and offset along y
UPRIGHT, ON_TABLE = 0.95, 0.01  # cosine, m
GAP = 0.15  # m between the middles, where the expert puts the object
RELEASE_HEIGHT = 0.003  # m above the table


class PlaceA2BLeft(Task):
    step_limit = 400
    instructions = (
        "put the {object} to the left of the {target}",
        "place the {colour} {object} on the left side of the {target}",
        "pick up the {object} with the {arm} arm and set it down left of the {target}",
        "move the {object} so that it lies left of the {target}",
        "lay the {object} beside the {target}, on its left",
        "take the {colour} {object} and put it left of the {target}",
        "set the {object} on the table to the left of the {target}",
        "use the {arm} arm to place the {object} on the left of the {target}",
        "bring the {object} next to the {target}, on the left-hand side",
        "carry the {object} to the place left of the {target}",
    )
    unseen_instructions = (
        "left of the {target} is where the {object} belongs",
        "the {target} should have the {colour} {object} on its left",
        "arrange the {object} and the {target} side by side, the {object} on the left",
        "with the {arm} hand, line the {object} up to the left of the {target}",
        "the {object} goes directly to the left of the {target}",
    )
    sign: ClassVar[int] = -1  # of the offset from the target to its goal, along x

    def load_actors(self) -> None:
        spot, target = self._spots()
        object_kind = self.random_kind(OBJECTS)
        self.kinds = object_kind, self.random_kind(kind for kind in TARGETS if kind != object_kind)
        yaws = self.rng.uniform(-np.pi, np.pi, 2)
        self.object = OBJECTS[self.kinds[0]](self.scene, self.scene.on_table(spot, yaws[0]), name="object")
        self.target = TARGETS[self.kinds[1]](self.scene, self.scene.on_table(target, yaws[1]), name="target")
        self.arm = self.skills.near_arm(self.object)
        for place in (spot, target, self.goal):
            self.scene.keep_clear(place, CLEARANCE)

    def _spots(self) -> tuple[np.ndarray, np.ndarray]:
        """Places [2] (m) of object and target: the target about the middle, or on the other side than its goal."""
        while True:
            spot = self.random_xy(OBJECT_AREA)
            in_middle = self.sign * spot[0] > 0
            x, y = self.rng.uniform(*(MIDDLE_X if in_middle else OUTER_X)), self.rng.uniform(*TARGET_Y)
            target = np.array([x if in_middle else -self.sign * x, y])
            apart = np.linalg.norm(target - spot) > MIN_DISTANCE and abs(y - spot[1]) > MIN_OFFSET_Y
            if apart and abs(spot[0]) > MIN_X:
                return spot, target

    @property
    def goal(self) -> np.ndarray:
        """Where the object's origin belongs (m, scene)."""
        return np.array([self.target.position[0] + self.sign * GAP, self.target.position[1], self.scene.table_top])

    def slots(self) -> dict[str, str]:
        return {"object": self.kinds[0], "target": self.kinds[1], "colour": self.object.colour, "arm": self.arm}

    def beside(self) -> bool:
        """RoboTwin's predicate on the two positions."""
        x, y = (self.object.position - self.target.position)[:2]
        return bool(NEAR < np.linalg.norm([x, y]) < FAR and self.sign * x > 0 and abs(y) < ABREAST)

    def check_success(self) -> bool:
        on_table = abs(self.object.position[2] - self.scene.table_top) < ON_TABLE
        still = self.object.rotation[2, 2] > UPRIGHT and self.object.speed < REST_SPEED
        return bool(self.beside() and on_table and still and self.skills.released(self.object))

    def expert(self) -> Commands:
        """Puts the object down along x."""
        grasp, goal = self.skills.long_grasp(self.arm, self.object), self.goal + RELEASE_HEIGHT * UP
        if self.beside() and not self.skills.holds(self.arm, grasp):
            return {}
        azimuth = np.copysign(np.pi / 2, goal[0] - self.scene.arms[self.arm].base.p[0])
        rotation = directed(azimuth, np.pi / 2)
        return {
            self.arm: self.skills.pick_and_place(self.arm, self.object, grasp, goal, rotation, twist=0.2, hover=0.1)
        }

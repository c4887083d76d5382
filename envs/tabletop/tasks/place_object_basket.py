"""RoboTwin's place_object_basket: one arm puts the object into the basket, the other lifts the basket."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.tabletop.objects.office import tea_box, toy_car
from envs.tabletop.scene import Body
from envs.tabletop.skills import Grasp
from envs.tabletop.tasks.place_can_basket import PlaceCanBasket


class PlaceObjectBasket(PlaceCanBasket):
    step_limit = 700
    instructions = (
        "put the {object} into the basket and lift the basket",
        "place the {colour} {object} in the basket with the {arm} arm, then lift the basket with the {other} arm",
        "pick up the {object}, lay it in the basket and raise the basket by its handle",
        "use both arms: one puts the {object} in the basket, the other lifts it",
        "drop the {object} into the basket, then hold the basket up",
        "move the {colour} {object} into the wicker basket and pick the basket up",
        "take the {object} with the {arm} arm, put it in the basket, and lift the basket",
        "load the basket with the {object} and carry it upwards",
        "grab the {object} for the basket, then grab the basket's handle and lift",
        "lay the {colour} {object} in the basket before you raise the basket",
    )
    unseen_instructions = (
        "the basket with the {object} in it should leave the table",
        "pack the {colour} {object} and lift the basket with the {other} hand",
        "the {object} goes in first, after that the basket goes up",
        "collect the {object} and take the basket off the table",
        "put the {object} away in the basket and pick it up by the arch",
    )
    low: ClassVar[tuple[float, float]] = (0.2, -0.1)
    high: ClassVar[tuple[float, float]] = (0.25, 0.1)
    drop: ClassVar[float] = 0.03

    def load_object(self, spot: np.ndarray) -> Body:
        self.kind = str(self.rng.choice(["toy car", "tea box"]))
        make = {"toy car": toy_car, "tea box": tea_box}[self.kind]
        return make(self.scene, self.scene.on_table(spot, np.pi / 2 + self.rng.uniform(-np.pi / 6, np.pi / 6)))

    def grip(self) -> Grasp:
        return self.skills.long_grasp(self.arm, self.object, 1.3)

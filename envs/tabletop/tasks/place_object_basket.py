"""Put the object into the basket with one arm and lift the basket with the other.

Asked: as in place_can_basket, with a toy car or a tea box.
Varies: the object, and as in place_can_basket.
Done: as in place_can_basket.

Source: RoboTwin 2.0, envs/place_object_basket.py.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.tabletop.objects.office import tea_box, toy_car
from envs.tabletop.scene import Body
from envs.tabletop.skills import Grasp
from envs.tabletop.task import Area
from envs.tabletop.tasks.place_can_basket import PlaceCanBasket

KINDS = {"toy car": toy_car, "tea box": tea_box}
OBJECT_YAW, MAX_TURN = np.pi / 2, np.pi / 6  # rad: the object lies along y, about so far
PITCH = 1.3  # rad below the horizon, of the tool


class PlaceObjectBasket(PlaceCanBasket):
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
    object_area: ClassVar[Area] = ((0.2, -0.1), (0.25, 0.1))
    release_height: ClassVar[float] = 0.03

    def load_object(self, spot: np.ndarray) -> tuple[Body, str]:
        kind = self.random_kind(KINDS)
        return KINDS[kind](self.scene, self.scene.on_table(spot, OBJECT_YAW + self.random_yaw(MAX_TURN))), kind

    def grasp(self) -> Grasp:
        return self.skills.long_grasp(self.arm, self.object, PITCH)

"""Put the can into the basket with one arm and lift the basket with the other.

Asked: the arm on the can's side puts it into the basket, over the handle's arch; then the other arm lifts the basket by
the arch.
Varies: looks, side, position and yaw of the can, looks and position of the basket; the instruction.
Done: both are raised above where they were, the basket is upright and touched by the other arm's fingers, the can is in
it, touches neither the table nor a finger.

Source: RoboTwin 2.0, envs/place_can_basket.py. What must touch and must not is ours.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.tabletop.objects.containers import basket
from envs.tabletop.objects.tableware import can
from envs.tabletop.rotations import directed
from envs.tabletop.scene import Body
from envs.tabletop.skills import ARM_AT, CLOSED, SLOW, UP, Command, Grasp
from envs.tabletop.task import Area, Commands, Task

BASKET_X, BASKET_Y = -0.02, (-0.08, -0.05)  # m, x on the can's side; range of y
BASKET_CLEARANCE, OBJECT_CLEARANCE = 0.15, 0.12  # m, half widths of the squares without clutter
LIFTED, NEAR, UPRIGHT = 0.02, 0.15, 0.5  # m, RoboTwin's: above the start, sum of offsets from the basket; cosine
INSIDE_XY, INSIDE_HEIGHT = 0.07, 0.05  # m, in the basket's frame: there the object is inside
OVER = 0.2  # m above the basket's floor, from where the object goes down
OVER_GOAL = 0.02  # m: nearer to the goal's x and y it may go down
RISE_STEP = 0.03  # m, by which the expert lifts at once
PITCH, PLACE_PITCH = 1.1, 1.25  # rad below the horizon, of the tool


class PlaceCanBasket(Task):
    step_limit = 700
    instructions = (
        "put the can into the basket and lift the basket",
        "place the {colour} can in the basket with the {arm} arm, then lift the basket with the {other} arm",
        "pick up the can, lay it in the basket and raise the basket by its handle",
        "use both arms: one fills the basket with the can, the other lifts it",
        "drop the {colour} can into the basket and carry the basket upwards",
        "move the can into the wicker basket, then pick the basket up",
        "take the can with the {arm} arm, put it in the basket, and lift the basket",
        "load the can into the basket and hold the basket up",
        "get the drink can into the basket, then grab the basket's handle and lift",
        "stand the {colour} can in the basket before you raise the basket",
    )
    unseen_instructions = (
        "the basket with the can in it should leave the table",
        "pack the {colour} can and lift the basket with the {other} hand",
        "fetch the can, then the basket that holds it",
        "the can goes in first, after that the basket goes up",
        "put the soda away in the basket and pick it up by the arch",
    )
    object_area: ClassVar[Area] = ((0.2, 0.0), (0.25, 0.1))  # m, on either side
    release_height: ClassVar[float] = 0.003  # m above the basket's floor

    def load_actors(self) -> None:
        side = self.random_side()  # the object's
        spot = np.array([BASKET_X * side, self.rng.uniform(*BASKET_Y)])
        self.basket = basket(self.scene, self.scene.on_table(spot))
        self.scene.keep_clear(spot, BASKET_CLEARANCE)
        self.arm, self.other = ARM_AT[side], ARM_AT[-side]
        spot = self.random_xy(self.object_area, side)
        self.object, self.kind = self.load_object(spot)
        self.scene.keep_clear(spot, OBJECT_CLEARANCE)
        self.start = {body.name: body.position[2] for body in (self.object, self.basket)}

    def load_object(self, spot: np.ndarray) -> tuple[Body, str]:
        """Spawns what goes into the basket at `spot` [2] (m); returns it and what instructions call it."""
        return can(self.scene, self.scene.on_table(spot, self.random_yaw())), "can"

    def slots(self) -> dict[str, str]:
        return {"object": self.kind, "colour": self.object.colour, "arm": self.arm, "other": self.other}

    def check_success(self) -> bool:
        lifted = all(body.position[2] - self.start[body.name] > LIFTED for body in (self.object, self.basket))
        return bool(
            lifted
            and self.basket.rotation[2, 2] > UPRIGHT
            and np.abs(self.object.position - self.basket.position).sum() < NEAR
            and self.scene.touching(self.object.name, self.basket.name)
            and not self.scene.touching(self.object.name, "table")
            and not self.scene.fingers_on(self.object.name)
            and self.skills.touches(self.other, self.basket)
        )

    def grasp(self) -> Grasp:
        """How the object is grasped."""
        return self.skills.round_grasp(self.arm, self.object, PITCH)

    def expert(self) -> Commands:
        grasp = self.grasp()
        if self.skills.holds(self.arm, grasp):
            return {self.arm: self._place()}
        local = self.basket.rotation.T @ (self.object.position - self.basket.position)
        if not (np.all(np.abs(local[:2]) < INSIDE_XY) and local[2] < INSIDE_HEIGHT):
            return {self.arm: self.skills.grasp_actor(self.arm, grasp)}
        return {self.other: self._lift()} if self.skills.out_of_the_way(self.arm) else {}

    def _place(self) -> Command:
        """Over the arch, then straight down before it."""
        goal, rotation = self.basket.point("inside") + self.release_height * UP, directed(0.0, PLACE_PITCH)
        if np.linalg.norm((self.object.position - goal)[:2]) > OVER_GOAL:
            return self.skills.carry(self.arm, self.object.position, goal + OVER * UP, rotation, hover=0.0)
        return self.skills.place_actor(self.arm, self.object, goal, rotation)

    def _lift(self) -> Command:
        """The other arm grasps the arch and lifts the basket."""
        arch = self.skills.long_grasp(self.other, self.basket, PITCH)
        if self.skills.holds(self.other, arch):
            raised = self.skills.tool(self.other).position + RISE_STEP * UP
            return Command(raised, arch.rotation, CLOSED, SLOW)
        return self.skills.grasp_actor(self.other, arch)

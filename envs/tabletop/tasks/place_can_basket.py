"""RoboTwin's place_can_basket: one arm puts the can into the basket, the other lifts the basket by its handle."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.containers import basket
from envs.tabletop.objects.tableware import can
from envs.tabletop.rotations import directed
from envs.tabletop.scene import Body
from envs.tabletop.skills import CLOSED, SLOW, UP, Command, Grasp
from envs.tabletop.task import Commands, Task

LIFTED, NEAR = 0.02, 0.15  # m, RoboTwin's: both above where they stood; the sum of offsets to the basket
OVER = 0.2  # m above the basket's floor, from where the object goes down
PITCH = 1.1  # rad below the horizon


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
    low: ClassVar[tuple[float, float]] = (0.2, 0.0)  # m, the object's range on its side of the table
    high: ClassVar[tuple[float, float]] = (0.25, 0.1)
    drop: ClassVar[float] = 0.003  # m above the basket's floor, where it is let go

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))  # the object's
        spot = np.array([-0.02 * side, self.rng.uniform(-0.08, -0.05)])
        self.basket = basket(self.scene, self.scene.on_table(spot))
        self.scene.keep_clear(spot, 0.15)
        self.arm = "left" if side < 0 else "right"
        self.other = kin.ARMS[1 - kin.ARMS.index(self.arm)]
        spot = self.rng.uniform(self.low, self.high) * [side, 1]
        self.object = self.load_object(spot)
        self.scene.keep_clear(spot, 0.12)
        self.start = {b.name: b.position[2] for b in (self.object, self.basket)}

    def load_object(self, spot: np.ndarray) -> Body:
        """What goes into the basket, at `spot` (xy, m)."""
        self.kind = "can"
        return can(self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi, np.pi)))

    def slots(self) -> dict[str, str]:
        return {"object": self.kind, "colour": self.object.colour, "arm": self.arm, "other": self.other}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the object is let go, the basket held by the other arm."""
        lifted = all(b.position[2] - self.start[b.name] > LIFTED for b in (self.object, self.basket))
        return bool(
            lifted
            and self.basket.rotation[2, 2] > 0.5
            and np.abs(self.object.position - self.basket.position).sum() < NEAR
            and self.scene.touching(self.object.name, self.basket.name)
            and not self.scene.touching(self.object.name, "table")
            and not self.scene.fingers_on(self.object.name)
            and self.scene.touching(f"{self.other}_finger*", self.basket.name)
        )

    def grip(self) -> Grasp:
        """How the object is taken."""
        return self.skills.round_grasp(self.arm, self.object, PITCH)

    def expert(self) -> Commands:
        skills, grip = self.skills, self.grip()
        local = self.basket.rotation.T @ (self.object.position - self.basket.position)
        inside = bool(np.all(np.abs(local[:2]) < 0.07) and local[2] < 0.05)
        commands = {arm: skills.back_to_origin(arm) for arm in kin.ARMS}
        if skills.holds(self.arm, grip):
            goal, turn = self.basket.point("inside") + self.drop * UP, directed(0.0, 1.25)
            if np.linalg.norm((self.object.position - goal)[:2]) > 0.02:  # over the arch, then straight down before it
                over = goal + OVER * UP
                commands[self.arm] = skills.carry(self.arm, self.object.position, over, turn, hover=0.0)
            else:
                commands[self.arm] = skills.place_actor(self.arm, self.object, goal, turn)
        elif not inside:
            commands[self.arm] = skills.grasp_actor(self.arm, grip)
        elif skills.out_of_the_way(self.arm):  # the way is free for the other arm
            arch = skills.long_grasp(self.other, self.basket, PITCH)
            commands[self.other] = skills.grasp_actor(self.other, arch)
            if skills.holds(self.other, arch):
                up = skills.tool(self.other).position + 0.03 * UP
                commands[self.other] = Command(up, arch.rotation, CLOSED, SLOW)
        return commands

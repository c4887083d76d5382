"""RoboTwin's place_cans_plasticbox: put both cans into the box, one with each arm."""

from __future__ import annotations

import numpy as np

from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.objects.containers import plastic_box
from envs.tabletop.objects.tableware import can
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task, listed

AT_PLACE = 0.04  # m, RoboTwin's
PITCH = 1.3  # rad below the horizon


class PlaceCansPlasticbox(Task):
    step_limit = 800
    instructions = (
        "put the cans into the plastic box",
        "place both drink cans in the {box} box",
        "use both arms to put the two cans in the box",
        "pick up the {colours} cans and stand them in the plastic box",
        "move the two cans from the table into the box between them",
        "pack the cans into the {box} plastic box",
        "take one can with each arm and place them side by side in the box",
        "lift the cans and lower them into the storage box",
        "stow the {colours} cans in the box",
        "set both cans down inside the open box",
    )
    unseen_instructions = (
        "the box should contain both cans",
        "no can should be left beside the {box} box",
        "tidy the drinks away into the plastic container",
        "one hand per can: both belong in the box",
        "get the {colours} cans into the container",
    )

    def load_actors(self) -> None:
        spot = self.rng.uniform([0, -0.15], [0, -0.1])
        self.box = plastic_box(self.scene, self.scene.on_table(spot))
        self.scene.keep_clear(spot, 0.19)
        self.cans = {}
        for arm, sign in (("left", -1), ("right", 1)):
            spot = self.rng.uniform([0.2, -0.15], [0.25, -0.07]) * [sign, 1]  # RoboTwin: from 0.15, where our box ends
            yaw = self.rng.uniform(-np.pi, np.pi)
            self.cans[arm] = can(self.scene, self.scene.on_table(spot, yaw), name=f"can_{arm}")
            self.scene.keep_clear(spot, 0.11)

    def slots(self) -> dict[str, str]:
        return {"box": self.box.colour, "colours": listed(body.colour for body in self.cans.values())}

    def at_place(self, arm: str) -> bool:
        """RoboTwin's predicate for one can, and it stands on the floor of the box."""
        body = self.cans[arm]
        offsets = np.array([body.position - self.box.point(half) for half in ("left", "right")])
        near = np.linalg.norm(offsets[:, :2], axis=1).min() < AT_PLACE
        return bool(near and np.abs(offsets[:, 2]).min() < 0.015)

    def check_success(self) -> bool:
        """RoboTwin's predicate, and both stand in the box, let go."""
        placed = all(
            self.at_place(arm)
            and body.rotation[2, 2] > 0.95
            and body.speed < REST_SPEED
            and not self.scene.fingers_on(body.name)
            for arm, body in self.cans.items()
        )
        return bool(placed and self.skills.all_open())

    def expert(self) -> Commands:
        errands = []
        for arm, body in self.cans.items():
            goal = self.box.point(arm) + 0.003 * UP
            rotation = self.skills.reach_rotation(arm, goal, PITCH)
            grip = self.skills.round_grasp(arm, body, PITCH)
            errands.append(PickPlace(arm, body, grip, goal, rotation, self.at_place(arm), hover=0.09))
        return place_in_turn(self.skills, errands)

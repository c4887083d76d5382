"""Put two cans into the box.

Asked: each arm puts the can on its side into its half of the box.
Varies: looks and position of cans and box, the cans' yaw; the instruction.
Done: both cans are upright and still on the floor of the box, each near the middle of a half, both grippers are open
and no finger touches a can.

Source: RoboTwin 2.0, envs/place_cans_plasticbox.py. That they must be upright, still and untouched is ours.
"""

from __future__ import annotations

import numpy as np

from envs.constants import ARMS
from envs.contacts import REST_SPEED
from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.objects.containers import plastic_box
from envs.tabletop.objects.tableware import can
from envs.tabletop.scene import Body
from envs.tabletop.skills import SIGN, UP
from envs.tabletop.task import Commands, Task, listed

BOX_AREA = ((0, -0.15), (0, -0.1))  # m
CAN_AREA = ((0.2, -0.15), (0.25, -0.07))  # m, on the arm's side; RoboTwin's begins at 0.15, where our box ends
BOX_CLEARANCE, CAN_CLEARANCE = 0.19, 0.11  # m, half widths of the squares without clutter
AT_PLACE, ON_FLOOR, UPRIGHT = 0.04, 0.015, 0.95  # m, RoboTwin's; m; cosine
RELEASE_HEIGHT = 0.003  # m above the box's floor
PITCH = 1.3  # rad below the horizon, of both tools


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
        spot = self.random_xy(BOX_AREA)
        self.box = plastic_box(self.scene, self.scene.on_table(spot))
        self.scene.keep_clear(spot, BOX_CLEARANCE)
        self.cans: dict[str, Body] = {}
        for arm in ARMS:
            spot = self.random_xy(CAN_AREA, SIGN[arm])
            self.cans[arm] = can(self.scene, self.scene.on_table(spot, self.random_yaw()), name=f"can_{arm}")
            self.scene.keep_clear(spot, CAN_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"box": self.box.colour, "colours": listed(body.colour for body in self.cans.values())}

    def at_place(self, body: Body) -> bool:
        """RoboTwin's predicate for one can; and it is on the floor of the box."""
        offsets = np.array([body.position - self.box.point(half) for half in ("left", "right")])
        near = np.linalg.norm(offsets[:, :2], axis=1).min() < AT_PLACE
        return bool(near and np.abs(offsets[:, 2]).min() < ON_FLOOR)

    def check_success(self) -> bool:
        return all(
            self.at_place(body)
            and body.rotation[2, 2] > UPRIGHT
            and body.speed < REST_SPEED
            and self.skills.released(body)
            for body in self.cans.values()
        )

    def expert(self) -> Commands:
        jobs = []
        for arm, body in self.cans.items():
            goal = self.box.point(arm) + RELEASE_HEIGHT * UP
            rotation = self.skills.reach_rotation(arm, goal, PITCH)
            grasp = self.skills.round_grasp(arm, body, PITCH)
            jobs.append(PickPlace(arm, body, grasp, goal, rotation, self.at_place(body), hover=0.09))
        return place_in_turn(self.skills, jobs)

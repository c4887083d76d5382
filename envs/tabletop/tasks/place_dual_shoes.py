"""Put a pair of shoes into the shoe box.

Asked: each arm puts the shoe on its side into the box, side by side, toes to the left, the left shoe first.
Varies: looks of shoes and box, position and yaw of each shoe; the instruction.
Done: both shoes rest in their places in the box, toes to the left, both grippers are open and no finger touches a shoe.

Source: RoboTwin 2.0, envs/place_dual_shoes.py. That they must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.constants import ARMS
from envs.tabletop.objects.handheld import shoe, shoe_box, shoe_look
from envs.tabletop.rotations import angle_between, yawed
from envs.tabletop.scene import Body
from envs.tabletop.skills import SIGN
from envs.tabletop.task import Command, Commands, Task

BOX_XY = np.array([0.0, -0.13])  # m
SHOE_AREA = ((0.2, -0.1), (0.3, 0.05))  # m, on the arm's side
BOX_REACH = 0.165  # m: an end of a shoe nearer to the middle line, in front, is too close to the box to be grasped
SHOE_CLEARANCE, BOX_CLEARANCE = 0.13, 0.2  # m, half widths of the squares without clutter
PLACES = {"left": "front", "right": "back"}  # the points of the box where an arm's shoe belongs
IN_BOX, TURN = (0.05, 0.05, 0.03), 0.14  # m, rad: RoboTwin's
TOE_LEFT = np.pi  # rad, yaw
WAIT = np.array([0.33, -0.12, 0.23])  # m, where the right arm waits with its shoe, above the table
HOVER = 0.12  # m above the box


class PlaceDualShoes(Task):
    step_limit = 600
    instructions = (
        "put both shoes into the shoe box",
        "place the two {colour} shoes in the box with their toes to the left",
        "use both arms to pack the pair of shoes into the box",
        "pick up the left and the right shoe and lay them side by side in the {box} box",
        "store the {colour} shoes in the shoe box",
        "each arm takes one shoe and puts it into the box",
        "place the shoes into the {box} box one after the other, toes pointing left",
        "move the pair of shoes from the table into the box",
        "grab both shoes and set them down next to each other in the box",
        "pack the {colour} pair into the open {box} box",
    )
    unseen_instructions = (
        "the pair of shoes belongs in the box",
        "tidy both {colour} shoes away into their {box} box",
        "box the shoes up, both tips to the left",
        "the open box should hold the two {colour} sneakers",
        "one shoe per hand, and then into the box with them",
    )

    def load_actors(self) -> None:
        self.box = shoe_box(self.scene, self.scene.on_table(BOX_XY), static=True)
        look = shoe_look(self.scene)
        self.shoes: dict[str, Body] = {}
        for arm in ARMS:
            while True:
                spot, yaw = self.random_xy(SHOE_AREA, SIGN[arm]), self.random_yaw()
                if not self._near_box(spot, yaw, look.length):
                    break
            self.shoes[arm] = shoe(self.scene, self.scene.on_table(spot, yaw), f"{arm}_shoe", look)
            self.scene.keep_clear(spot, SHOE_CLEARANCE)
        self.scene.keep_clear(BOX_XY, BOX_CLEARANCE)

    def _near_box(self, spot: np.ndarray, yaw: float, length: float) -> bool:
        """Whether a shoe there would be too close to the box to be grasped."""
        ends = spot + length / 2 * np.outer([-1, 1], [np.cos(yaw), np.sin(yaw)])
        return bool(np.any((np.abs(ends[:, 0]) < BOX_REACH) & (ends[:, 1] < 0.0)))

    def slots(self) -> dict[str, str]:
        return {"colour": self.shoes["left"].colour, "box": self.box.colour}

    def goal(self, arm: str) -> np.ndarray:
        """Where an arm's shoe belongs (m, scene)."""
        return self.box.point(PLACES[arm])

    def placed(self, arm: str) -> bool:
        """RoboTwin's predicate for one shoe; and it rests in the box, untouched."""
        body = self.shoes[arm]
        return bool(
            np.all(np.abs(body.position - self.goal(arm)) < IN_BOX)
            and angle_between(body.rotation, yawed(TOE_LEFT, np.eye(3))) < TURN
            and self.skills.rests_on(body, self.box)
            and not self.scene.fingers_on(body.name)
        )

    def check_success(self) -> bool:
        return self.skills.all_open() and all(self.placed(arm) for arm in ARMS)

    def expert(self) -> Commands:
        commands = {arm: self._place(arm) for arm in ARMS if not self.placed(arm)}
        left_done = self.placed("left") and self.skills.out_of_the_way("left")
        body = self.shoes["right"]
        grip = body.point("grip")
        if self.skills.pinches("right", grip, body.width) and not left_done:
            goal = self.skills.mirrored("right", WAIT)
            rotation = self.skills.reach_rotation("right", goal, np.pi / 2)
            commands["right"] = self.skills.lift_to("right", grip, goal, rotation)
        return commands

    def _place(self, arm: str) -> Command:
        """An arm grasps its shoe, turns it and puts it into the box."""
        return self.skills.pick_turn_and_place(arm, self.shoes[arm], self.goal(arm), TOE_LEFT, twist=0.07, hover=HOVER)

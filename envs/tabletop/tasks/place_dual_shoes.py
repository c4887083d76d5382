"""RoboTwin's place_dual_shoes: put both shoes into the shoe box, side by side, toes to the left."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import shoe, shoe_box, shoe_look
from envs.tabletop.rotations import angle_between, yawed
from envs.tabletop.skills import UP
from envs.tabletop.task import Command, Commands, Task

IN_BOX, TURN = (0.05, 0.05, 0.03), 0.14  # m, rad: RoboTwin's
TOE_LEFT = np.pi  # rad, yaw
ASIDE = np.array([0.33, -0.12, 0.23])  # m, where the right arm waits, above the table
HOVER = 0.12  # m


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
        spot = np.array([0.0, -0.13])
        self.box = shoe_box(self.scene, self.scene.on_table(spot), static=True)
        look, self.shoes = shoe_look(self.scene), {}
        for side, arm in ((-1, "left"), (1, "right")):
            at = self.rng.uniform([0.2, -0.1], [0.3, 0.05]) * [side, 1]
            yaw = self.rng.uniform(-np.pi, np.pi)
            while self._near_box(at, yaw, look.length):
                at = self.rng.uniform([0.2, -0.1], [0.3, 0.05]) * [side, 1]
                yaw = self.rng.uniform(-np.pi, np.pi)
            self.shoes[arm] = shoe(self.scene, self.scene.on_table(at, yaw), f"{arm}_shoe", look)
            self.scene.keep_clear(at, 0.13)
        self.scene.keep_clear(spot, 0.2)

    def _near_box(self, at: np.ndarray, yaw: float, length: float) -> bool:
        """Whether the shoe would stand too close to the box to be taken."""
        ends = at + length / 2 * np.outer([-1, 1], [np.cos(yaw), np.sin(yaw)])
        return bool(np.any((np.abs(ends[:, 0]) < 0.165) & (ends[:, 1] < 0.0)))

    def slots(self) -> dict[str, str]:
        return {"colour": self.shoes["left"].colour, "box": self.box.colour}

    def goal(self, arm: str) -> np.ndarray:
        """Where an arm's shoe belongs (m, scene): the left one in front, the right one behind it."""
        return self.box.point({"left": "front", "right": "back"}[arm])

    def placed(self, arm: str) -> bool:
        """RoboTwin's predicate for one shoe, and it stands in the box, let go."""
        body = self.shoes[arm]
        return bool(
            np.all(np.abs(body.position - self.goal(arm)) < IN_BOX)
            and angle_between(body.rotation, yawed(TOE_LEFT, np.eye(3))) < TURN
            and self.skills.rests_on(body, self.box)
            and not self.scene.fingers_on(body.name)
        )

    def check_success(self) -> bool:
        """RoboTwin's predicate: both shoes placed, both grippers open."""
        return self.skills.all_open() and all(self.placed(arm) for arm in kin.ARMS)

    def expert(self) -> Commands:
        commands = {"left": self._pack("left"), "right": self._pack("right")}
        left_done = self.placed("left") and self.skills.out_of_the_way("left")
        if self.skills.pinches("right", self.shoes["right"].point("grip"), self.shoes["right"].width) and not left_done:
            aside = ASIDE + self.scene.table_top * UP
            commands["right"] = self.skills.lift_to(
                "right", self.shoes["right"].point("grip"), aside, self.skills.reach_rotation("right", aside, np.pi / 2)
            )
        return commands

    def _pack(self, arm: str) -> Command:
        """What an arm does for its shoe."""
        body, goal = self.shoes[arm], self.goal(arm)
        if self.placed(arm):
            return self.skills.back_to_origin(arm)
        grip = self.skills.turning_grasp(arm, body, goal, TOE_LEFT)
        if not self.skills.holds(arm, grip):
            return self.skills.grasp_actor(arm, grip)
        rotation = self.skills.rotation_to_face(arm, body, TOE_LEFT)
        return self.skills.place_actor(arm, body, goal, rotation, twist=0.07, hover=HOVER)

"""RoboTwin's place_bread_skillet: one arm lifts the skillet by its handle, the other puts the bread into it."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.bimanual import wait_aside
from envs.tabletop.objects.containers import skillet
from envs.tabletop.objects.food import bread
from envs.tabletop.skills import CLOSED, SLOW, UP, Command
from envs.tabletop.task import Commands, Task

IN_PAN, LIFTED = 0.035, 0.02  # m, RoboTwin's: bread to the pan's middle; both above the table
HELD_AT = np.array([0.07, -0.1, 0.07])  # m: where the pan's middle is held out, on the pan's side, above the table
PITCH = 1.1  # rad below the horizon


class PlaceBreadSkillet(Task):
    step_limit = 500
    instructions = (
        "put the bread into the skillet",
        "lift the skillet with the {pan_arm} arm and place the bread in it with the {arm} arm",
        "place the {bread} bread in the frying pan",
        "hold the {pan} skillet by its handle and lay the bread into it",
        "use both arms: one holds the pan, the other puts the bread in",
        "raise the frying pan and drop the bread in",
        "grab the handle of the skillet, lift it, and put the bread on it",
        "take the bread with the {arm} arm and put it in the lifted skillet",
        "pick up the pan and the bread and bring the bread into the pan",
        "pick up the {pan} pan and place the {bread} bread inside",
    )
    unseen_instructions = (
        "the bread should lie in the pan, off the table",
        "get the {bread} bread ready for frying",
        "with the pan in the {pan_arm} hand, add the bread",
        "the skillet in the air should carry the bread",
        "keep the {pan} skillet lifted and serve the bread into it",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))  # the bread's
        spot = self.rng.uniform([0.2, -0.2], [0.28, 0.05]) * [side, 1]
        yaw = np.pi / 2 + self.rng.uniform(-np.pi / 4, np.pi / 4)
        self.bread = bread(self.scene, self.scene.on_table(spot, yaw))
        self.scene.keep_clear(spot, 0.1)
        spot = self.rng.uniform([0.15, -0.2], [0.25, 0.05]) * [-side, 1]
        yaw = self.rng.uniform(-np.pi / 6, np.pi / 6) + (np.pi if side > 0 else 0)  # the handle points outwards
        self.pan = skillet(self.scene, self.scene.on_table(spot, yaw))
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(self.pan.point("grip")[:2], 0.12)
        self.scene.keep_clear(np.zeros(2) - [0, 0.1], 0.12)
        self.arm, self.pan_arm = (kin.ARMS[::-1], kin.ARMS)[side < 0]

    def slots(self) -> dict[str, str]:
        colours = {"bread": self.bread.colour, "pan": self.pan.colour}
        return colours | {"arm": self.arm, "pan_arm": self.pan_arm}

    def in_pan(self) -> bool:
        """RoboTwin's predicate on the bread, on the floor of the pan."""
        offset = self.bread.position - self.pan.point("inside")
        return bool(np.all(np.abs(offset[:2]) < IN_PAN) and abs(offset[2]) < 0.025)

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the bread rests in the pan, let go, while the pan is held level."""
        low = min(self.bread.position[2], self.pan.point("inside")[2])
        return bool(
            self.in_pan()
            and low > self.scene.table_top + LIFTED
            and self.pan.rotation[2, 2] > 0.9
            and self.skills.rests_on(self.bread, self.pan)
            and not self.scene.fingers_on(self.bread.name)
            and self.skills.is_open(self.arm)
        )

    def expert(self) -> Commands:
        skills = self.skills
        out = np.array([np.copysign(1.0, self.scene.arms[self.pan_arm].base.p[0]), 1, 1])
        middle = HELD_AT * out + self.scene.table_top * UP
        grip = skills.long_grasp(self.pan_arm, self.pan, PITCH)
        at_middle = np.linalg.norm(self.pan.position - middle) < 0.02
        pan = skills.grasp_actor(self.pan_arm, grip)
        if skills.holds(self.pan_arm, grip):
            level = np.array([[out[0], 0, 0], [0, out[0], 0], [0, 0, 1]])
            target = skills.tool(self.pan_arm).position + middle - self.pan.position
            rising = self.pan.position[2] < self.scene.table_top + 0.05
            if rising:
                target = skills.tool(self.pan_arm).position + 0.03 * UP
            pan = Command(target, skills.rotation_to_orient(self.pan_arm, self.pan, level), CLOSED, SLOW)
        grip = skills.long_grasp(self.arm, self.bread)
        if self.in_pan() and not skills.holds(self.arm, grip):
            return {self.pan_arm: pan, self.arm: skills.back_to_origin(self.arm)}
        bread = skills.grasp_actor(self.arm, grip)
        if skills.holds(self.arm, grip):
            goal = self.pan.point("inside") + 0.006 * UP
            turn = skills.reach_rotation(self.arm, goal, np.pi / 2)
            bread = skills.place_actor(self.arm, self.bread, goal, turn) if at_middle else wait_aside(skills, self.arm)
        return {self.pan_arm: pan, self.arm: bread}

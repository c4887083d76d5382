"""Lift the skillet with one arm and put the bread into it with the other.

Asked: the arm on the skillet's side lifts it by its handle and holds it out; the other arm puts the bread in.
Varies: looks, position and yaw of bread and skillet, which of them is on the left; the instruction.
Done: the bread rests on the floor of the skillet, both are raised, the skillet is level, the bread's arm has its
gripper open and no finger touches the bread.

Source: RoboTwin 2.0, envs/place_bread_skillet.py. That the bread must rest, untouched, in a level skillet is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.bimanual import wait_aside
from envs.tabletop.objects.containers import skillet
from envs.tabletop.objects.food import bread
from envs.tabletop.skills import ARM_AT, CLOSED, SIGN, SLOW, UP, Command
from envs.tabletop.task import Commands, Task

BREAD_AREA, PAN_AREA = ((0.2, -0.2), (0.28, 0.05)), ((0.15, -0.2), (0.25, 0.05))  # m, on opposite sides
BREAD_YAW, MAX_BREAD_TURN = np.pi / 2, np.pi / 4  # rad: the bread lies along y, about so far
MAX_PAN_TURN = np.pi / 6  # rad: the handle points outwards, about so far
BREAD_CLEARANCE, PAN_CLEARANCE = 0.1, 0.12  # m, half widths of the squares without clutter
MIDDLE_XY = (0.0, -0.1)  # m, of a square without clutter
IN_PAN = (0.035, 0.035, 0.025)  # m, bread from the middle of the pan's floor; along x and y RoboTwin's
LIFTED, LEVEL = 0.02, 0.9  # m above the table, RoboTwin's; cosine
HELD_AT = np.array([0.07, -0.1, 0.07])  # m, where the pan's middle is held out: for the right arm, above the table
AT_HELD, RISING, RISE_STEP = 0.02, 0.05, 0.03  # m: the pan is held out; below that height it first rises, by a step
RELEASE_HEIGHT = 0.006  # m above the pan's floor
PITCH = 1.1  # rad below the horizon, of the pan's tool


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
        side = self.random_side()  # the bread's
        spot = self.random_xy(BREAD_AREA, side)
        self.bread = bread(self.scene, self.scene.on_table(spot, BREAD_YAW + self.random_yaw(MAX_BREAD_TURN)))
        self.scene.keep_clear(spot, BREAD_CLEARANCE)
        spot = self.random_xy(PAN_AREA, -side)
        yaw = self.random_yaw(MAX_PAN_TURN) + (np.pi if side > 0 else 0)
        self.pan = skillet(self.scene, self.scene.on_table(spot, yaw))
        for place in (spot, self.pan.point("grip")[:2], np.array(MIDDLE_XY)):
            self.scene.keep_clear(place, PAN_CLEARANCE)
        self.arm, self.pan_arm = ARM_AT[side], ARM_AT[-side]

    def slots(self) -> dict[str, str]:
        colours = {"bread": self.bread.colour, "pan": self.pan.colour}
        return colours | {"arm": self.arm, "pan_arm": self.pan_arm}

    def in_pan(self) -> bool:
        """RoboTwin's predicate on the bread, on the floor of the pan."""
        return bool(np.all(np.abs(self.bread.position - self.pan.point("inside")) < IN_PAN))

    def check_success(self) -> bool:
        low = min(self.bread.position[2], self.pan.point("inside")[2])
        return bool(
            self.in_pan()
            and low > self.scene.table_top + LIFTED
            and self.pan.rotation[2, 2] > LEVEL
            and self.skills.rests_on(self.bread, self.pan)
            and not self.scene.fingers_on(self.bread.name)
            and self.skills.is_open(self.arm)
        )

    def expert(self) -> Commands:
        held_at = self.skills.mirrored(self.pan_arm, HELD_AT)
        commands = {self.pan_arm: self._hold_out(held_at)}
        grasp = self.skills.long_grasp(self.arm, self.bread)
        if self.skills.holds(self.arm, grasp):
            ready = np.linalg.norm(self.pan.position - held_at) < AT_HELD
            commands[self.arm] = self._place() if ready else wait_aside(self.skills, self.arm)
        elif not self.in_pan():
            commands[self.arm] = self.skills.grasp_actor(self.arm, grasp)
        return commands

    def _hold_out(self, goal: np.ndarray) -> Command:
        """Grasps the pan by its handle, lifts it and brings its middle, level, to `goal` (m, scene)."""
        arm, skills = self.pan_arm, self.skills
        grasp = skills.long_grasp(arm, self.pan, PITCH)
        if not skills.holds(arm, grasp):
            return skills.grasp_actor(arm, grasp)
        rotation = skills.rotation_to_orient(arm, self.pan, np.diag([SIGN[arm], SIGN[arm], 1]))
        if self.pan.position[2] < self.scene.table_top + RISING:
            return Command(skills.tool(arm).position + RISE_STEP * UP, rotation, CLOSED, SLOW)
        return Command(skills.tool(arm).position + goal - self.pan.position, rotation, CLOSED, SLOW)

    def _place(self) -> Command:
        """Puts the bread on the floor of the pan, from above."""
        goal = self.pan.point("inside") + RELEASE_HEIGHT * UP
        rotation = self.skills.reach_rotation(self.arm, goal, np.pi / 2)
        return self.skills.place_actor(self.arm, self.bread, goal, rotation)

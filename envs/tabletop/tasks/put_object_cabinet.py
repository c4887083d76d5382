"""Put the object into the cabinet's drawer.

Asked: the arm on the object's side picks it up and waits; the other arm pulls the drawer open; the object is put in.
Varies: the object (stapler or tea box), looks of object and cabinet, side, position and yaw of the object, position of
the cabinet; the instruction.
Done: the object rests in the drawer, near its middle, the gripper of its arm is open and no finger touches it.

Source: RoboTwin 2.0, envs/put_object_cabinet.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.constants import other_arm
from envs.tabletop.objects.articulated import cabinet
from envs.tabletop.objects.office import stapler, tea_box
from envs.tabletop.rotations import directed, rolled
from envs.tabletop.skills import CLOSED, UP, Command, Grasp, crosswise
from envs.tabletop.task import Commands, Task

KINDS = {"stapler": stapler, "tea box": tea_box}
CABINET_X, CABINET_Y = (-0.05, 0.05), 0.155  # m, range of x; y
OBJECT_AREA = ((0.2, -0.2), (0.32, -0.1))  # m, on either side
OBJECT_YAW, MAX_TURN = np.pi / 2, np.pi / 3  # rad: the object lies along y, about so far
OBJECT_CLEARANCE = 0.11  # m, half width of the square without clutter
CLEAR_SQUARES = (((0.0, 0.1), 0.22), ((0.0, -0.12), 0.17))  # m, middles and half widths: cabinet, open drawer
IN_DRAWER, RAISED = 0.05, (0.007, 0.12)  # m, RoboTwin's: beside the drawer's middle; range above the start
OPENED = 0.9  # share of the drawer's travel at which the object can go in
WAIT_X, WAIT_Y, WAIT_HEIGHT = 0.27, -0.15, 0.22  # m, on the object's side, above the table: where its arm waits
RELEASE_HEIGHT = 0.004  # m above the drawer's floor
PITCH = 0.25  # rad below the horizon, of the tool at the handle


class PutObjectCabinet(Task):
    step_limit = 700
    instructions = (
        "open the drawer and put the {object} in",
        "put the {object} into the cabinet",
        "pull the drawer out with the {other} arm and place the {object} in it with the {arm} arm",
        "store the {colour} {object} in the drawer",
        "open the cabinet's drawer, then drop the {object} into it",
        "take the {object} with the {arm} arm and put it in the open drawer",
        "use both arms: one opens the drawer, the other puts the {object} away",
        "place the {colour} {object} inside the cabinet",
        "grab the drawer's handle, pull, and put the {object} inside",
        "lay the {object} in the drawer of the cabinet",
    )
    unseen_instructions = (
        "the {object} belongs in the drawer",
        "clear the {colour} {object} away into the cabinet",
        "slide the drawer open and drop off the {object}",
        "let the {other} hand open the drawer for the {object}",
        "tidy up by storing the {object} in the cabinet",
    )

    def load_actors(self) -> None:
        cabinet_xy = np.array([self.rng.uniform(*CABINET_X), CABINET_Y])
        self.cabinet = cabinet(self.scene, self.scene.on_table(cabinet_xy))
        spot = self.random_xy(OBJECT_AREA, self.random_side())
        self.kind = self.random_kind(KINDS)
        yaw = OBJECT_YAW + self.random_yaw(MAX_TURN)
        self.object = KINDS[self.kind](self.scene, self.scene.on_table(spot, yaw))
        self.start_height = self.object.position[2]
        self.arm = self.skills.near_arm(self.object)
        self.other = other_arm(self.arm)
        self.scene.keep_clear(spot, OBJECT_CLEARANCE)
        for middle, half in CLEAR_SQUARES:
            self.scene.keep_clear(np.array(middle), half)

    def slots(self) -> dict[str, str]:
        return {"object": self.kind, "colour": self.object.colour, "arm": self.arm, "other": self.other}

    def check_success(self) -> bool:
        drawer, position = self.cabinet.link, self.object.position
        inside = np.all(np.abs(position - drawer.point("inside"))[:2] < IN_DRAWER)
        raised = RAISED[0] < position[2] - self.start_height < RAISED[1]
        released = self.skills.is_open(self.arm) and not self.scene.fingers_on(self.object.name)
        return bool(inside and raised and released and self.skills.rests_on(self.object, drawer))

    def expert(self) -> Commands:
        drawer = self.cabinet.link
        if self.cabinet.fraction < OPENED:
            handle = Grasp(drawer.point("grip"), rolled(directed(0.0, PITCH), np.pi / 2), drawer.width)
            return {self.arm: self._pick(), self.other: self.skills.pull(self.other, self.cabinet, handle)}
        grasp, rotation = self.skills.long_grasp(self.arm, self.object), crosswise(self.skills.tool(self.arm))
        goal = drawer.point("inside") + RELEASE_HEIGHT * UP
        place = self.skills.pick_and_place(self.arm, self.object, grasp, goal, rotation, twist=0.15, hover=0.085)
        return {self.arm: place, self.other: self.skills.retreat(self.other, drawer)}

    def _pick(self) -> Command:
        """Picks the object up and waits beside the drawer with it."""
        grasp = self.skills.long_grasp(self.arm, self.object)
        if not self.skills.holds(self.arm, grasp):
            return self.skills.grasp_actor(self.arm, grasp)
        wait = np.array([np.copysign(WAIT_X, self.object.position[0]), WAIT_Y, self.scene.table_top + WAIT_HEIGHT])
        return Command(wait, self.skills.tool(self.arm).rotation, CLOSED)

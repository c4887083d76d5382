"""RoboTwin's put_object_cabinet: one arm opens the drawer, the other puts the object in."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.articulated import cabinet
from envs.tabletop.objects.office import stapler, tea_box
from envs.tabletop.rotations import directed, rolled
from envs.tabletop.skills import CLOSED, UP, Command, Grasp, crosswise
from envs.tabletop.task import Commands, Task

IN_DRAWER, RAISED = 0.05, (0.007, 0.12)  # m, RoboTwin's: beside the drawer's middle, above where it lay
OPENED = 0.9  # share of the drawer's travel at which the object can go in
PITCH = 0.25  # rad below the horizon


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
        self.cabinet = cabinet(self.scene, self.scene.on_table(np.array([self.rng.uniform(-0.05, 0.05), 0.155])))
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.2, -0.2], [0.32, -0.1]) * [side, 1]
        self.kind = str(self.rng.choice(["stapler", "tea box"]))
        make = {"stapler": stapler, "tea box": tea_box}[self.kind]
        yaw = np.pi / 2 + self.rng.uniform(-np.pi / 3, np.pi / 3)
        self.object = make(self.scene, self.scene.on_table(spot, yaw))
        self.height = self.object.position[2]
        self.arm = self.skills.near_arm(self.object)
        self.other = kin.ARMS[1 - kin.ARMS.index(self.arm)]
        self.scene.keep_clear(spot, 0.11)
        self.scene.keep_clear(np.array([0.0, 0.1]), 0.22)
        self.scene.keep_clear(np.array([0.0, -0.12]), 0.17)

    def slots(self) -> dict[str, str]:
        return {"object": self.kind, "colour": self.object.colour, "arm": self.arm, "other": self.other}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the object lies in the drawer, let go."""
        drawer, place = self.cabinet.link, self.object.position
        inside = np.all(np.abs(place - drawer.point("inside"))[:2] < IN_DRAWER)
        raised = RAISED[0] < place[2] - self.height < RAISED[1]
        let_go = self.skills.is_open(self.arm) and not self.scene.fingers_on(self.object.name)
        return bool(inside and raised and let_go and self.skills.rests_on(self.object, drawer))

    def expert(self) -> Commands:
        skills, drawer = self.skills, self.cabinet.link
        grip = skills.long_grasp(self.arm, self.object)
        holds = skills.holds(self.arm, grip)
        take = skills.grasp_actor(self.arm, grip)
        if self.cabinet.fraction < OPENED:  # the other arm opens the drawer, this one waits beside it with the object
            aside = np.array([np.copysign(0.27, self.object.position[0]), -0.15, self.scene.table_top + 0.22])
            wait = Command(aside, skills.tool(self.arm).rotation, CLOSED)
            handle = Grasp(drawer.point("grip"), rolled(directed(0.0, PITCH), np.pi / 2), drawer.width)
            return {self.arm: wait if holds else take, self.other: skills.pull(self.other, self.cabinet, handle)}
        goal, rotation = drawer.point("inside") + 0.004 * UP, crosswise(skills.tool(self.arm))
        place = skills.place_actor(self.arm, self.object, goal, rotation, twist=0.15, hover=0.085)
        return {self.arm: place if holds else take, self.other: skills.retreat(self.other, drawer)}

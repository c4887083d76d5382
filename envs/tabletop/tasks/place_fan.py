"""Put the fan on the coloured mat, facing the robot.

Asked: the arm on the fan's side picks it up, turns it to the robot and puts it down on the mat.
Varies: size and colour of the fan, colour of the mat, positions, the fan's yaw; the instruction.
Done: the fan rests on the mat, upright and facing the robot, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/place_fan.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import fan, pad
from envs.tabletop.placing import PlaceTask
from envs.tabletop.rotations import yaw_of
from envs.tabletop.skills import SIGN
from envs.tabletop.task import Commands

FAN_AREA = ((-0.1, -0.15), (0.1, -0.05))  # m
MAT_AREA = ((0.15, -0.15), (0.25, -0.05))  # m, on the arm's side
FAN_CLEARANCE, MAT_CLEARANCE = 0.12, 0.15  # m, half widths of the squares without clutter
ON_MAT, ALIGNED = 0.04, 0.14  # m, rad: RoboTwin's
HOVER = 0.05  # m, over the fan and over the mat


class PlaceFan(PlaceTask):
    step_limit = 400
    instructions = (
        "place the fan on the {pad} mat, facing the robot",
        "pick up the {colour} fan and put it on the {pad} mat so that it blows at you",
        "use the {arm} arm to put the fan on the {pad} mat with its front towards you",
        "move the fan onto the {pad} mat and turn it to face the robot",
        "grab the fan, turn its blades towards you and set it on the {pad} mat",
        "take the {colour} fan to the {pad} mat, front side to the robot",
        "set the fan down on the {pad} mat, its face to the robot",
        "lift the fan by its top and stand it on the {pad} mat, looking at you",
        "put the {colour} fan on the mat with the {arm} arm, blowing at the robot",
        "turn the fan around as needed and place it on the {pad} mat, facing you",
    )
    unseen_instructions = (
        "the fan on the {pad} mat should cool the robot",
        "the {colour} fan belongs on the {pad} square and must look at you",
        "with the {arm} hand, stand the fan on its mat so that you see its front",
        "let the fan blow towards the robot from the {pad} mat",
        "bring the fan over to the {pad} pad and aim it at the robot",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(FAN_AREA)
        self.object = fan(self.scene, self.scene.on_table(spot, self.random_yaw()))
        self.arm = self.skills.near_arm(self.object)
        goal = self.random_xy(MAT_AREA, SIGN[self.arm])
        self.target = pad(self.scene, self.scene.on_table(goal))
        self.scene.keep_clear(spot, FAN_CLEARANCE)
        self.scene.keep_clear(goal, MAT_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.object.colour, "pad": self.target.colour}

    def at_target(self) -> bool:
        rotation = self.object.rotation
        faces_robot = abs(yaw_of(rotation)) < ALIGNED and rotation[2, 2] > np.cos(ALIGNED)
        return bool(np.all(self.offset() < ON_MAT) and faces_robot)

    def expert(self) -> Commands:
        if self.placed():
            return {}
        goal, skills = self.target.point("top"), self.skills
        return {self.arm: skills.pick_turn_and_place(self.arm, self.object, goal, 0.0, 0.05, HOVER, HOVER)}

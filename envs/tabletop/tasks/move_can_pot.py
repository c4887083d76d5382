"""Put the can down beside the pot.

Asked: the arm on the can's side picks it up and puts it down at that side of the pot.
Varies: looks of can and pot, the pot's yaw, side, position and yaw of the can; the instruction.
Done: the can rests upright on the table, at most 20 cm beside the pot, which is upright too; both grippers are open and
no finger touches the can.

Source: RoboTwin 2.0, envs/move_can_pot.py. That the can must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.containers import pot
from envs.tabletop.objects.tableware import can
from envs.tabletop.placing import PlaceTask
from envs.tabletop.rotations import directed
from envs.tabletop.skills import SIGN
from envs.tabletop.task import Commands

MAX_POT_YAW, MAX_CAN_YAW = np.pi / 8, np.pi / 4  # rad
CAN_AREA = ((-0.3, 0.05), (0.3, 0.15))  # m
MIN_X, DISTANCE = 0.2, 0.3  # m, of the can from the middle line and from the pot
CAN_CLEARANCE, POT_CLEARANCE, GOAL_CLEARANCE = 0.1, 0.16, 0.11  # m, half widths of the squares without clutter
GOAL_SQUARE_X = 0.2  # m, from the middle to that of the goal's square
BESIDE, ALONG, UPRIGHT = 0.2, 0.035, 0.966  # m, m, cosine of 15 degrees: RoboTwin's
GOAL = np.array([0.185, -0.005, 0.001])  # m, from the pot to where the right arm puts the can
PITCH, AZIMUTH = 0.9, 0.9  # rad: the tool comes from outside, so that open fingers clear the pot's ear


class MoveCanPot(PlaceTask):
    step_limit = 400
    instructions = (
        "move the can next to the pot",
        "put the {colour} can beside the {pot} pot",
        "pick up the can with the {arm} arm and place it next to the pot",
        "set the can down on the {arm} side of the pot",
        "use the {arm} arm to move the {colour} can to the pot",
        "place the can close to the cooking pot",
        "grab the {colour} can and stand it beside the pot",
        "take the can and put it down by the {pot} pot",
        "bring the can to the {arm} of the pot",
        "lift the can with the {arm} arm and put it at the pot's side",
    )
    unseen_instructions = (
        "the can belongs right beside the {pot} pot",
        "let the {colour} can stand at the {arm} ear of the pot",
        "can and pot should stand side by side",
        "with the {arm} hand, shift the can over to the pot",
        "park the {colour} can next to the pot",
    )

    def load_actors(self) -> None:
        self.pot = pot(self.scene, self.scene.on_table(np.zeros(2), self.random_yaw(MAX_POT_YAW)))
        spot = np.zeros(2)
        while np.linalg.norm(spot) < DISTANCE or abs(spot[0]) < MIN_X:
            spot = self.random_xy(CAN_AREA)
        self.object = can(self.scene, self.scene.on_table(spot, self.random_yaw(MAX_CAN_YAW)))
        self.target = self.scene.bodies["table"]
        self.arm = self.skills.near_arm(self.object)
        self.side = SIGN[self.arm]
        self.scene.keep_clear(spot, CAN_CLEARANCE)
        self.scene.keep_clear(np.zeros(2), POT_CLEARANCE)
        self.scene.keep_clear(np.array([self.side * GOAL_SQUARE_X, 0.0]), GOAL_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"colour": self.object.colour, "pot": self.pot.colour, "arm": self.arm}

    def at_target(self) -> bool:
        offset = (self.object.position - self.pot.position) * [self.side, 1, 1]
        beside = 0.0 < offset[0] < BESIDE and abs(offset[1]) < ALONG
        return bool(beside and min(self.object.rotation[2, 2], self.pot.rotation[2, 2]) > UPRIGHT)

    def expert(self) -> Commands:
        goal = self.pot.position + GOAL * [self.side, 1, 1]
        grasp = self.skills.round_grasp(self.arm, self.object, PITCH)
        rotation = directed(-self.side * AZIMUTH, PITCH)
        return {self.arm: self.skills.pick_and_place(self.arm, self.object, grasp, goal, rotation)}

"""Turn the payment sign so that its QR code faces the robot.

Asked: the arm on the sign's side picks it up, turns it around and puts it down on the table.
Varies: looks, side, position and yaw of the sign, which faces away; the instruction.
Done: the sign rests on the table, upright and facing the robot, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/rotate_qrcode.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import payment_sign
from envs.tabletop.placing import PlaceTask
from envs.tabletop.rotations import yaw_of
from envs.tabletop.task import Commands

SIGN_AREA = ((0.05, -0.2), (0.25, 0.0))  # m, on either side
SIGN_YAW, MAX_TURN = np.pi, 0.7  # rad: its QR code is behind, turned by at most this
CLEARANCE = 0.13  # m, half width of the squares without clutter about the sign and its goal
ALIGNED, LIFTED = 0.14, 0.01  # rad, m: RoboTwin's
GOAL = np.array([0.2, -0.15, 0.0])  # m, where the expert puts it: for the right arm, above the table
HOVER = 0.05  # m, over the sign and over its goal


class RotateQrcode(PlaceTask):
    step_limit = 400
    instructions = (
        "rotate the QR code towards the robot",
        "turn the {colour} sign around so that its QR code faces you",
        "use the {arm} arm to turn the payment sign to the front",
        "pick up the sign and put it down with the QR code towards you",
        "turn the {colour} payment sign by half a turn",
        "make the QR code face the robot",
        "grab the {colour} sign, rotate it and set it down facing you",
        "take the QR code sign with the {arm} arm and turn it around",
        "rotate the payment sign until you see the code",
        "lift the sign, turn it to the robot and let go",
    )
    unseen_instructions = (
        "the code on the sign should be readable for the robot",
        "show yourself the front of the {colour} sign",
        "with the {arm} hand, swivel the QR code to this side",
        "the back of the sign is facing you; change that",
        "make the {colour} payment sign scannable from where you are",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(SIGN_AREA) * [self.random_side(), 1]
        yaw = SIGN_YAW + self.random_yaw(MAX_TURN)
        self.object = payment_sign(self.scene, self.scene.on_table(spot, yaw))
        self.target = self.scene.bodies["table"]
        self.arm = self.skills.near_arm(self.object)
        self.goal = self.skills.mirrored(self.arm, GOAL)
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(self.goal, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.object.colour}

    def at_target(self) -> bool:
        rotation = self.object.rotation
        faces_robot = abs(yaw_of(rotation)) < ALIGNED and rotation[2, 2] > np.cos(ALIGNED)
        return bool(faces_robot and self.object.position[2] < self.scene.table_top + LIFTED)

    def expert(self) -> Commands:
        if self.placed():
            return {}
        skills = self.skills
        return {self.arm: skills.pick_turn_and_place(self.arm, self.object, self.goal, 0.0, 0.05, HOVER, HOVER)}

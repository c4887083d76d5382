"""RoboTwin's rotate_qrcode: turn the sign so that its QR code faces the robot."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import payment_sign
from envs.tabletop.rotations import yaw_of
from envs.tabletop.task import Commands, Task

ALIGNED, LIFTED = 0.14, 0.01  # rad, m: RoboTwin's
GOAL = (0.2, -0.15)  # m, where the expert puts it, on the arm's side
HOVER = 0.05  # m


class RotateQrcode(Task):
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
        spot = self.rng.uniform([0.05, -0.2], [0.25, 0.0]) * [self.rng.choice([-1, 1]), 1]
        yaw = np.pi + self.rng.uniform(-0.7, 0.7)
        self.sign = payment_sign(self.scene, self.scene.on_table(spot, yaw))
        self.arm = self.skills.near_arm(self.sign)
        self.goal = np.array([*GOAL, self.scene.table_top]) * [1 if self.arm == "right" else -1, 1, 1]
        self.scene.keep_clear(spot, 0.13)
        self.scene.keep_clear(self.goal, 0.13)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.sign.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the sign is let go and rests on the table."""
        return self.placed() and self.skills.rests_on(self.sign, self.scene.bodies["table"])

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the sign."""
        return bool(
            abs(yaw_of(self.sign.rotation)) < ALIGNED
            and self.sign.rotation[2, 2] > np.cos(ALIGNED)
            and self.sign.position[2] < self.scene.table_top + LIFTED
            and self.skills.all_open()
            and not self.scene.fingers_on(self.sign.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        grip = self.skills.turning_grasp(self.arm, self.sign, self.goal, 0.0)
        if self.skills.holds(self.arm, grip):
            rotation = self.skills.rotation_to_face(self.arm, self.sign, 0.0)
            commands[self.arm] = self.skills.place_actor(
                self.arm, self.sign, self.goal, rotation, twist=0.05, hover=HOVER
            )
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip, HOVER)
        return commands

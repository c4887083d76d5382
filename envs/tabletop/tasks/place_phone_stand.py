"""RoboTwin's place_phone_stand: lean the phone in the phone stand."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import phone, phone_stand
from envs.tabletop.rotations import angle_between
from envs.tabletop.skills import CLOSED, UP, Array, Command
from envs.tabletop.task import Commands, Task

IN_STAND, STANDING = (0.045, 0.04, 0.04), 0.7  # m, RoboTwin's; sine of the phone's slope
RAISED, TWIST = 0.2, 0.3  # m above the table, rad: turned up there before it goes to the stand
CLEAR = 0.004  # m, between the back rest and the phone when it is let go


class PlacePhoneStand(Task):
    step_limit = 400
    instructions = (
        "place the phone on the phone stand",
        "pick up the {colour} phone and lean it in the stand",
        "use the {arm} arm to put the phone on its stand",
        "put the phone into the {stand} stand so that its screen faces you",
        "grab the phone and set it upright in the stand",
        "take the {colour} phone with the {arm} arm and place it in the holder",
        "stand the phone up in the {stand} phone stand",
        "lift the phone off the table and put it in its holder",
        "move the {colour} phone to the phone stand",
        "lean the phone against the back of the {stand} stand",
    )
    unseen_instructions = (
        "the phone belongs in the {stand} holder",
        "make the {colour} phone's screen visible from the front",
        "with the {arm} hand, dock the phone",
        "let the phone rest in its stand",
        "set the mobile up for a video call",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.05, -0.2], [0.25, 0.0]) * [side, 1]
        goal = spot
        while np.linalg.norm(goal - spot) < 0.15:
            goal = self.rng.uniform([0.0, 0.0], [0.15, 0.2]) * [side, 1]
        self.phone = phone(self.scene, self.scene.on_table(spot, np.pi / 2 + self.rng.uniform(-0.7, 0.7)))
        self.stand = phone_stand(self.scene, self.scene.on_table(goal))
        self.arm = self.skills.near_arm(self.phone)
        self.scene.keep_clear(spot, 0.15)
        self.scene.keep_clear(goal, 0.15)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.phone.colour, "stand": self.stand.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the phone is let go and rests in the stand, its screen to the front."""
        return self.placed() and self.skills.rests_on(self.phone, self.stand)

    def placed(self) -> bool:
        """RoboTwin's predicate, and the phone leans and no finger touches it."""
        x, z = self.phone.rotation[:, 0], self.phone.rotation[:, 2]
        offset = np.abs(self.phone.point("foot") - self.stand.point("seat"))
        return bool(
            np.all(offset < IN_STAND)
            and x[2] > STANDING
            and z[1] < -STANDING
            and self.skills.all_open()
            and not self.scene.fingers_on(self.phone.name)
        )

    def leaning(self) -> Array:
        """Rotation [3, 3] of the phone in the stand: its long axis up the back rest, its screen to the front."""
        x = self.stand.point("lean") - self.stand.point("seat")
        x /= np.linalg.norm(x)
        y = np.array([-1.0, 0.0, 0.0])
        return np.stack([x, y, np.cross(x, y)], 1)

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        grip = self.skills.long_grasp(self.arm, self.phone)
        if self.placed():
            commands[self.arm] = self.skills.retreat(self.arm, self.phone)
        elif self.skills.holds(self.arm, grip):
            commands[self.arm] = self._bring()
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip)
        return commands

    def _bring(self) -> Command:
        """Lifts the phone and turns it up first, then lowers it into the stand."""
        tool, leaning = self.skills.tool(self.arm), self.leaning()
        rotation = self.skills.rotation_to_orient(self.arm, self.phone, leaning)
        if angle_between(tool.rotation, rotation) > TWIST:
            raised = np.array([*tool.position[:2], self.scene.table_top + RAISED])
            return Command(raised, rotation, CLOSED)
        goal = self.stand.point("seat") + CLEAR * (leaning[:, 2] + UP)
        return self.skills.place_actor(self.arm, self.phone, goal, rotation, point="foot", twist=0.1, hover=0.1)

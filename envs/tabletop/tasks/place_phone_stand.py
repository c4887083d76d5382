"""Put the phone in the phone stand.

Asked: the arm on the phone's side picks it up, turns it up and leans it in the stand.
Varies: size and colour of the phone, slope and looks of the stand, the side of the table, positions, the phone's yaw;
the instruction.
Done: the phone rests in the stand, leaning, its screen to the front, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/place_phone_stand.py. That it must lean and rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import phone, phone_stand
from envs.tabletop.placing import PlaceTask
from envs.tabletop.rotations import angle_between
from envs.tabletop.skills import CLOSED, UP, Array, Command
from envs.tabletop.task import Commands

PHONE_AREA = ((0.05, -0.2), (0.25, 0.0))  # m, on either side
PHONE_YAW, MAX_TURN = np.pi / 2, 0.7  # rad: the phone lies along y, about so far
STAND_AREA, DISTANCE = ((0.0, 0.0), (0.15, 0.2)), 0.15  # m, on the same side, and between the two
CLEARANCE = 0.15  # m, half width of the squares without clutter about both
IN_STAND, LEANING = (0.045, 0.04, 0.04), 0.7  # m, RoboTwin's; sine of the phone's slope
RAISED, TURNED_UP = 0.2, 0.3  # m above the table, rad: the phone is turned up there before it goes to the stand
GAP = 0.004  # m, between the back rest and the phone when it is released


class PlacePhoneStand(PlaceTask):
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
        side = self.random_side()
        spot = self.random_xy(PHONE_AREA, side)
        goal = self.random_xy(STAND_AREA, side, away_from=spot, distance=DISTANCE)
        self.object = phone(self.scene, self.scene.on_table(spot, PHONE_YAW + self.random_yaw(MAX_TURN)))
        self.target = phone_stand(self.scene, self.scene.on_table(goal))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(goal, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.object.colour, "stand": self.target.colour}

    def at_target(self) -> bool:
        x, z = self.object.rotation[:, 0], self.object.rotation[:, 2]
        offset = np.abs(self.object.point("foot") - self.target.point("seat"))
        return bool(np.all(offset < IN_STAND) and x[2] > LEANING and z[1] < -LEANING)

    def leaning(self) -> Array:
        """Rotation [3, 3] of the phone in the stand: its long axis up the back rest, its screen to the front."""
        x = self.target.point("lean") - self.target.point("seat")
        x /= np.linalg.norm(x)
        y = np.array([-1.0, 0.0, 0.0])
        return np.stack([x, y, np.cross(x, y)], 1)

    def expert(self) -> Commands:
        grasp = self.skills.long_grasp(self.arm, self.object)
        if self.placed():
            return {self.arm: self.skills.retreat(self.arm, self.object)}
        if self.skills.holds(self.arm, grasp):
            return {self.arm: self._to_stand()}
        return {self.arm: self.skills.grasp_actor(self.arm, grasp)}

    def _to_stand(self) -> Command:
        """Lifts the phone and turns it up first, then lowers it into the stand."""
        tool, leaning = self.skills.tool(self.arm), self.leaning()
        rotation = self.skills.rotation_to_orient(self.arm, self.object, leaning)
        if angle_between(tool.rotation, rotation) > TURNED_UP:
            raised = np.array([*tool.position[:2], self.scene.table_top + RAISED])
            return Command(raised, rotation, CLOSED)
        goal = self.target.point("seat") + GAP * (leaning[:, 2] + UP)
        return self.skills.place_actor(self.arm, self.object, goal, rotation, point="foot", twist=0.1, hover=0.1)

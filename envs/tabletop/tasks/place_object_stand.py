"""Put the object on the display stand.

Asked: the arm on the object's side picks it up and puts it down on the stand.
Varies: the object (one of six kinds), looks of object and stand, the side of the table, positions and yaws; the
instruction.
Done: the object rests on the stand, near its middle, both grippers are open and no finger touches the object.

Source: RoboTwin 2.0, envs/place_object_stand.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import cube, display_stand, hand_bell, mouse, remote_control, stapler, toy_car
from envs.tabletop.placing import PlaceTask
from envs.tabletop.task import Commands

KINDS = {
    "mouse": mouse,
    "stapler": stapler,
    "bell": hand_bell,
    "puzzle cube": cube,
    "toy car": toy_car,
    "remote control": remote_control,
}
OBJECT_AREA, STAND_AREA = ((0.2, -0.05), (0.28, 0.05)), ((0.0, -0.15), (0.05, -0.1))  # m, on one side, either
OBJECT_YAW, MAX_TURN, MAX_STAND_YAW = np.pi / 2, np.pi / 3, np.pi / 6  # rad: the object lies along y, about so far
OBJECT_CLEARANCE, STAND_CLEARANCE = 0.12, 0.14  # m, half widths of the squares without clutter
ON_STAND = 0.03  # m, RoboTwin's
PITCH = 1.3  # rad below the horizon, of the tool


class PlaceObjectStand(PlaceTask):
    step_limit = 400
    instructions = (
        "place the {object} on the display stand",
        "pick up the {colour} {object} and put it on the stand",
        "put the {object} on show on the {stand} stand",
        "use the {arm} arm to set the {object} on the display stand",
        "set the {object} down on top of the stand",
        "grab the {colour} {object} and place it on the pedestal",
        "move the {object} onto the {stand} display stand",
        "take the {object} with the {arm} arm and put it on the stand",
        "lift the {colour} {object} and lower it onto the stand",
        "put the {object} in the middle of the {stand} stand",
    )
    unseen_instructions = (
        "exhibit the {object} on the pedestal",
        "the {colour} {object} should rest on the stand",
        "let the {arm} hand bring the {object} to the stand",
        "have the {stand} stand carry the {object}",
        "raise the {object} onto its display",
    )

    def load_actors(self) -> None:
        side = self.random_side()
        spot, goal = self.random_xy(OBJECT_AREA, side), self.random_xy(STAND_AREA, side)
        self.kind = self.random_kind(KINDS)
        turn, stand_yaw = self.random_yaw(MAX_TURN), self.random_yaw(MAX_STAND_YAW)
        self.object = KINDS[self.kind](self.scene, self.scene.on_table(spot, OBJECT_YAW + turn))
        self.target = display_stand(self.scene, self.scene.on_table(goal, stand_yaw))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, OBJECT_CLEARANCE)
        self.scene.keep_clear(goal, STAND_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "object": self.kind, "colour": self.object.colour, "stand": self.target.colour}

    def at_target(self) -> bool:
        return bool(np.all(np.abs(self.object.position - self.target.position)[:2] < ON_STAND))

    def expert(self) -> Commands:
        if self.placed():
            return {}
        return self.place_on_top(self.skills.long_grasp(self.arm, self.object, PITCH), PITCH)

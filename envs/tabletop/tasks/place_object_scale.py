"""Put the object on the scale.

Asked: the arm on the object's side picks it up and puts it down on the scale's plate.
Varies: the object (mouse, stapler or hand bell), looks of object and scale, the side of the table, positions and yaws;
the instruction.
Done: the object rests on the scale, near the middle of its plate, that arm's gripper is open and no finger touches the
object.

Source: RoboTwin 2.0, envs/place_object_scale.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import electronic_scale, hand_bell, mouse, stapler
from envs.tabletop.placing import PlaceTask
from envs.tabletop.task import Commands

KINDS = {"mouse": mouse, "stapler": stapler, "bell": hand_bell}
AREA = ((0.02, -0.2), (0.25, 0.05))  # m, of object and scale, on either side
DISTANCE = 0.18  # m, between the two; RoboTwin's 0.15 would let our longest stapler touch the scale
OBJECT_CLEARANCE, SCALE_CLEARANCE = 0.12, 0.14  # m, half widths of the squares without clutter
ON_SCALE, BELOW = 0.035, 0.01  # m, RoboTwin's
PITCH = 1.2  # rad below the horizon, of the tool


class PlaceObjectScale(PlaceTask):
    step_limit = 400
    instructions = (
        "place the {object} on the scale",
        "pick up the {colour} {object} and put it on the scale",
        "weigh the {object} on the electronic scale",
        "use the {arm} arm to put the {object} on the scale",
        "set the {object} down in the middle of the scale",
        "grab the {colour} {object} and weigh it",
        "move the {object} onto the {scale} scale",
        "take the {object} with the {arm} arm and place it on the scale's plate",
        "lift the {colour} {object} and lower it onto the weighing scale",
        "put the {object} on the {scale} electronic scale",
    )
    unseen_instructions = (
        "find out how heavy the {object} is",
        "the {colour} {object} should rest on the scale",
        "let the {arm} hand bring the {object} to the scale",
        "have the {scale} scale carry the {object}",
        "get a reading of the {object}'s weight",
    )

    def load_actors(self) -> None:
        side = self.random_side()
        spot, goal = np.zeros((2, 2))
        while np.linalg.norm(goal - spot) < DISTANCE:
            spot, goal = self.rng.uniform(*AREA, (2, 2)) * [side, 1]
        self.kind = self.random_kind(KINDS)
        self.object = KINDS[self.kind](self.scene, self.scene.on_table(spot, self.random_yaw()))
        self.target = electronic_scale(self.scene, self.scene.on_table(goal, self.random_yaw()))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, OBJECT_CLEARANCE)
        self.scene.keep_clear(goal, SCALE_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "object": self.kind, "colour": self.object.colour, "scale": self.target.colour}

    def at_target(self) -> bool:
        offset = self.object.position - self.target.point("top")
        return bool(np.linalg.norm(offset[:2]) < ON_SCALE and offset[2] > -BELOW)

    def placed(self) -> bool:
        """As RoboTwin, asks for one open gripper only."""
        return self.at_target() and self.skills.is_open(self.arm) and not self.scene.fingers_on(self.object.name)

    def expert(self) -> Commands:
        if self.placed():
            return {}
        return self.place_on_top(self.skills.long_grasp(self.arm, self.object, PITCH), PITCH)

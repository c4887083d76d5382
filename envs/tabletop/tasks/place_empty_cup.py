"""Put the empty cup on the coaster.

Asked: the arm on the cup's side picks it up and puts it down on the coaster.
Varies: looks of cup and coaster, the side of the table, positions; the instruction.
Done: the cup rests on the coaster, near its middle, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/place_empty_cup.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.tableware import coaster, cup
from envs.tabletop.placing import PlaceTask
from envs.tabletop.scene import upright
from envs.tabletop.task import Commands

CUP_AREA = ((0.15, -0.2), (0.3, 0.05))  # m, on either side
COASTER_AREA, DISTANCE = ((-0.05, -0.2), (0.1, 0.05)), 0.1  # m, also across the middle; between the two
CLEARANCE = 0.1  # m, half width of the squares without clutter about both
ON_COASTER, HEIGHT = 0.035, 0.015  # m, RoboTwin's
PITCH = 1.0  # rad below the horizon, of the tool


class PlaceEmptyCup(PlaceTask):
    step_limit = 500
    instructions = (
        "place the empty cup on the coaster",
        "pick up the {colour} cup and put it on the {coaster} coaster",
        "set the cup down in the middle of the coaster",
        "move the cup onto the coaster",
        "grab the empty {colour} cup and place it on the round mat",
        "use the {arm} arm to put the cup on the coaster",
        "take the cup with the {arm} arm and set it on the coaster",
        "carry the cup to the {coaster} coaster",
        "lift the cup and lower it onto the coaster",
        "put the {colour} cup where the coaster is",
    )
    unseen_instructions = (
        "the {coaster} coaster should end up under the {colour} cup",
        "bring the cup over to its coaster and let go",
        "with the {arm} hand, stand the cup on the coaster",
        "give the cup a coaster to stand on",
        "relocate the cup so that it rests on the coaster",
    )

    def load_actors(self) -> None:
        side = self.random_side()
        spot = self.random_xy(CUP_AREA, side)
        goal = self.random_xy(COASTER_AREA, side, away_from=spot, distance=DISTANCE)
        self.object = cup(self.scene, self.scene.on_table(spot))
        self.target = coaster(self.scene, upright([*goal, self.scene.table_top]))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(goal, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.object.colour, "coaster": self.target.colour}

    def at_target(self) -> bool:
        offset = self.offset()
        return bool(np.linalg.norm(offset[:2]) < ON_COASTER and offset[2] < HEIGHT)

    def expert(self) -> Commands:
        grasp, goal = self.skills.round_grasp(self.arm, self.object, PITCH), self.target.point("top")
        if self.skills.holds(self.arm, grasp):
            rotation = self.skills.reach_rotation(self.arm, goal, PITCH)
            return {self.arm: self.skills.place_actor(self.arm, self.object, goal, rotation)}
        return {self.arm: self.skills.grasp_point(self.arm, grasp.point, grasp.rotation)}

"""Put the shoe on the mat, its toe to the left.

Asked: the arm on the shoe's side picks it up, turns it and puts it down on the mat.
Varies: looks of shoe and mat, position and yaw of the shoe; the instruction.
Done: the shoe rests on the mat, its toe to the left, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/place_shoe.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.handheld import shoe, shoe_mat
from envs.tabletop.placing import PlaceTask
from envs.tabletop.rotations import angle_between, yawed
from envs.tabletop.scene import upright
from envs.tabletop.task import Commands

MAT_XY = np.array([0.0, -0.08])  # m
SHOE_AREA, DISTANCE = ((-0.25, -0.1), (0.25, 0.05)), 0.15  # m; of the shoe from the table's middle
SHOE_CLEARANCE, MAT_CLEARANCE = 0.13, 0.18  # m, half widths of the squares without clutter
ON_MAT, TURN = (0.05, 0.02, 0.01), 0.14  # m, rad: RoboTwin's
TOE_LEFT = np.pi  # rad, yaw


class PlaceShoe(PlaceTask):
    step_limit = 500
    instructions = (
        "place the shoe on the mat with its toe to the left",
        "pick up the {colour} shoe and put it on the {mat} mat",
        "use the {arm} arm to set the shoe on the mat, pointing left",
        "move the shoe onto the mat so that its tip points to the left",
        "grab the {colour} shoe with the {arm} arm and place it on the mat",
        "put the shoe on the {mat} mat, lengthwise, toe left",
        "take the shoe and set it down in the middle of the mat",
        "turn the shoe's toe to the left and stand it on the {mat} mat",
        "lift the {colour} shoe and lower it onto the mat",
        "carry the shoe to the mat and let it face left",
    )
    unseen_instructions = (
        "the {colour} shoe belongs on the {mat} mat, facing left",
        "with the {arm} hand, bring the shoe onto its mat",
        "tidy the shoe away on the mat with the tip to the left",
        "the shoe should stand on the mat and look left",
        "relocate the {colour} sneaker to the mat, its heel on the right",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(SHOE_AREA, away_from=np.zeros(2), distance=DISTANCE)
        self.target = shoe_mat(self.scene, upright([*MAT_XY, self.scene.table_top]))
        self.object = shoe(self.scene, self.scene.on_table(spot, self.random_yaw()))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, SHOE_CLEARANCE)
        self.scene.keep_clear(MAT_XY, MAT_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"colour": self.object.colour, "mat": self.target.colour, "arm": self.arm}

    def at_target(self) -> bool:
        askew = angle_between(self.object.rotation, yawed(TOE_LEFT, np.eye(3)))
        return bool(np.all(self.offset() < ON_MAT) and askew < TURN)

    def expert(self) -> Commands:
        goal = self.target.point("top")
        return {self.arm: self.skills.pick_turn_and_place(self.arm, self.object, goal, TOE_LEFT, twist=0.07)}

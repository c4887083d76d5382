"""Put the pill bottle on the pad.

Asked: the arm on the bottle's side picks it up and puts it down on the pad.
Varies: looks of bottle and pad, the side of the table, positions, the bottle's yaw; the instruction.
Done: the bottle rests upright in the middle of the pad, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/move_pillbottle_pad.py. That it must rest there upright, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.handheld import pill_bottle, square_pad
from envs.tabletop.placing import PlaceTask
from envs.tabletop.scene import upright
from envs.tabletop.task import Commands

BOTTLE_AREA, MAX_YAW = ((0.05, -0.1), (0.25, 0.1)), 0.5  # m, on either side; rad
PAD_AREA, DISTANCE = ((0.05, -0.2), (0.25, 0.1)), 0.1  # m, on the same side, and between the two
CLEARANCE = 0.1  # m, half width of the squares without clutter about both
ON_PAD, UPRIGHT = (0.03, 0.03, 0.005), 0.95  # m, RoboTwin's; cosine
PITCH = 1.0  # rad below the horizon, of the tool


class MovePillbottlePad(PlaceTask):
    step_limit = 400
    instructions = (
        "move the pill bottle onto the pad",
        "put the {colour} pill bottle on the {pad} pad",
        "pick up the pill bottle with the {arm} arm and place it on the pad",
        "place the pill bottle in the middle of the {pad} square",
        "grab the {colour} bottle of pills and set it down on the pad",
        "use the {arm} arm to stand the pill bottle on the pad",
        "take the medicine bottle and put it on the {pad} pad",
        "lift the pill bottle and lower it onto the pad",
        "carry the {colour} pill bottle over to the pad",
        "set the small bottle down on the {pad} pad and let go",
    )
    unseen_instructions = (
        "the pill bottle belongs on the {pad} square",
        "let the {colour} medicine bottle stand on the pad",
        "with the {arm} hand, bring the pills to the pad",
        "relocate the pill bottle so that the pad is under it",
        "the pad is where the {colour} pill bottle should end up",
    )

    def load_actors(self) -> None:
        side = self.random_side()
        spot = self.random_xy(BOTTLE_AREA, side)
        goal = self.random_xy(PAD_AREA, side, away_from=spot, distance=DISTANCE)
        self.object = pill_bottle(self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)))
        self.target = square_pad(self.scene, upright([*goal, self.scene.table_top]))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(goal, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"colour": self.object.colour, "pad": self.target.colour, "arm": self.arm}

    def at_target(self) -> bool:
        return bool(np.all(self.offset() < ON_PAD) and self.object.rotation[2, 2] > UPRIGHT)

    def expert(self) -> Commands:
        return self.place_on_top(self.skills.round_grasp(self.arm, self.object, PITCH), PITCH)

"""Put the stapler on the coloured pad, lengthwise.

Asked: the arm on the stapler's side picks it up, turns it along the pad and puts it down there.
Varies: size and colour of the stapler, colour of the pad, the side of the table, positions, the stapler's yaw; the
instruction.
Done: the stapler rests in the middle of the pad, along it, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/move_stapler_pad.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import stapler
from envs.tabletop.placing import PlaceTask
from envs.tabletop.skills import lengthwise
from envs.tabletop.task import Commands

AREA, DISTANCE = ((0.05, -0.2), (0.25, 0.0)), 0.1  # m, of stapler and pad, on either side, and between them
CLEARANCES = (0.12, 0.13)  # m, half widths of the squares without clutter
PAD_HALF, PAD_YAW = (0.055, 0.03), 0.0  # m, half sizes; rad, of its long side
ON_PAD, ALIGNED = (0.02, 0.02, 0.01), 0.04  # m, rad: RoboTwin's


class MoveStaplerPad(PlaceTask):
    step_limit = 400
    instructions = (
        "move the stapler onto the {pad} pad",
        "pick up the {colour} stapler and put it on the {pad} pad",
        "place the stapler on the {pad} mat, lined up with it",
        "use the {arm} arm to move the stapler to the pad",
        "grab the stapler and set it down along the {pad} pad",
        "put the {colour} stapler on the pad with the {arm} arm",
        "take the stapler to the {pad} pad and let go",
        "lift the stapler, turn it and lower it onto the {pad} pad",
        "lay the stapler straight on the {pad} pad",
        "move the {colour} stapler to the middle of the {pad} pad",
    )
    unseen_instructions = (
        "the stapler belongs on the {pad} pad",
        "align the {colour} stapler with the {pad} rectangle, on top of it",
        "with the {arm} hand, bring the stapler onto its pad",
        "the {pad} pad should end up under the stapler",
        "park the {colour} stapler on the {pad} mat",
    )

    def load_actors(self) -> None:
        self.load_with_pad(stapler, PAD_HALF, AREA, DISTANCE, CLEARANCES)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.object.colour, "pad": self.target.colour}

    def at_target(self) -> bool:
        return bool(np.all(self.offset() < ON_PAD) and self.misalignment(PAD_YAW) < ALIGNED)

    def expert(self) -> Commands:
        if self.placed():
            return {}
        goal, yaw = self.target.point("top"), lengthwise(self.object, PAD_YAW)
        return {self.arm: self.skills.pick_turn_and_place(self.arm, self.object, goal, yaw, twist=0.02)}

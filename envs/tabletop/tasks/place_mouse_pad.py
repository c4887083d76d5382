"""Put the computer mouse on the coloured pad, lengthwise.

Asked: the arm on the mouse's side picks it up, turns it along the pad and puts it down there.
Varies: size and colour of the mouse, colour of the pad, the side of the table, positions, the mouse's yaw; the
instruction.
Done: the mouse rests in the middle of the pad, along it, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/place_mouse_pad.py. That it must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import mouse
from envs.tabletop.placing import PlaceTask
from envs.tabletop.skills import lengthwise
from envs.tabletop.task import Commands

AREA, DISTANCE = ((0.05, -0.2), (0.25, 0.0)), 0.1  # m, of mouse and pad, on either side, and between them
CLEARANCES = (0.12, 0.13)  # m, half widths of the squares without clutter
PAD_HALF, PAD_YAW = (0.035, 0.065), np.pi / 2  # m, half sizes; rad, of its long side
ON_PAD, ALIGNED = (0.015, 0.012), 0.4  # m, rad: RoboTwin's


class PlaceMousePad(PlaceTask):
    step_limit = 400
    instructions = (
        "place the mouse on the {pad} pad",
        "pick up the {colour} mouse and put it on the {pad} mouse pad",
        "use the {arm} arm to put the mouse on the pad",
        "move the computer mouse onto the {pad} mat",
        "grab the mouse and set it down lengthwise on the {pad} pad",
        "put the {colour} mouse on the pad with the {arm} arm",
        "take the mouse to the {pad} pad and let go of it",
        "lift the mouse, turn it straight and lower it onto the {pad} pad",
        "set the {colour} computer mouse on its {pad} pad",
        "move the mouse to the middle of the {pad} pad",
    )
    unseen_instructions = (
        "the mouse belongs on the {pad} pad",
        "align the {colour} mouse with the {pad} rectangle, on top of it",
        "with the {arm} hand, bring the mouse back to its pad",
        "the {pad} pad should end up under the mouse",
        "park the {colour} mouse on the {pad} mat",
    )

    def load_actors(self) -> None:
        self.load_with_pad(mouse, PAD_HALF, AREA, DISTANCE, CLEARANCES)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.object.colour, "pad": self.target.colour}

    def at_target(self) -> bool:
        return bool(np.all(self.offset()[:2] < ON_PAD) and self.misalignment(PAD_YAW) < ALIGNED)

    def expert(self) -> Commands:
        if self.placed():
            return {}
        goal, yaw = self.target.point("top"), lengthwise(self.object, PAD_YAW)
        return {self.arm: self.skills.pick_turn_and_place(self.arm, self.object, goal, yaw, twist=0.1)}

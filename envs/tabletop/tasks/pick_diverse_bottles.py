"""Pick up two bottles of different kinds, one with each arm, and hold them up in the middle.

Asked: as in pick_dual_bottles.
Varies: also the kind of each bottle (bottle, flask or sauce bottle).
Done: as in pick_dual_bottles.

Source: RoboTwin 2.0, envs/pick_diverse_bottles.py.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.handheld import BOTTLES
from envs.tabletop.objects.parts import draw
from envs.tabletop.scene import Body
from envs.tabletop.tasks.pick_dual_bottles import MAX_YAW, PickDualBottles


class PickDiverseBottles(PickDualBottles):
    instructions = (
        "pick up the {left} with the left arm and the {right} with the right arm",
        "lift the {left} and the {right} and bring them together",
        "grab one bottle with each arm and hold them up in front",
        "take the {left} and the {right} from the table at the same time",
        "use both arms to raise the two bottles to the middle",
        "pick up the {left} and the {right} and hold them side by side",
        "each arm takes one thing: raise the {left} and the {right}",
        "hold up the two different bottles, one in each gripper",
        "get the {left} and the {right} off the table with two arms",
        "lift both bottles and move them towards you",
    )
    unseen_instructions = (
        "the {left} and the {right} should meet in mid-air",
        "one bottle per hand, and up with them, whatever they look like",
        "left hand for the {left}, right hand for the {right}, then hold them before you",
        "bring the {left} and the {right} up to the front",
        "neither the {left} nor the {right} should remain on the table",
    )

    def load_bottle(self, name: str, spot: np.ndarray) -> tuple[Body, str]:
        kind = draw(self.scene, sorted(BOTTLES))
        body = BOTTLES[kind](self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)), name)
        return body, f"{body.colour} {kind}"

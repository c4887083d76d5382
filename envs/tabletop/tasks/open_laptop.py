"""Open the laptop, whose lid is slightly open.

Asked: the arm on the side of the lid's edge pushes the lid up with closed fingers.
Varies: size and colour of the laptop, its position and yaw; the instruction.
Done: the lid is open by 40 % of its travel, that arm's tool is at the lid's edge and a finger on it.

Source: RoboTwin 2.0, envs/open_laptop.py, which asks for a tool near the lid (`Predicates.has_opened`).
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.articulated import laptop
from envs.tabletop.rotations import directed
from envs.tabletop.task import Commands, Task

LAPTOP_AREA = ((-0.05, -0.1), (0.05, 0.05))  # m
MAX_YAW = np.pi / 3  # rad
START_SHARE, OPEN_SHARE = 0.2, 0.4  # of the travel: at the start, RoboTwin's success
CLEARANCE = 0.26  # m, half width of the square without clutter
PITCH = 0.3  # rad below the horizon, of the tool


class OpenLaptop(Task):
    step_limit = 700
    instructions = (
        "open the laptop",
        "lift the lid of the laptop",
        "open the {colour} laptop with the {arm} arm",
        "push the laptop's screen up",
        "raise the lid of the {colour} laptop",
        "use the {arm} arm to open the laptop",
        "open up the notebook computer on the table",
        "put the {arm} gripper under the lid and open the laptop",
        "swing the screen of the laptop open",
        "open the lid further",
    )
    unseen_instructions = (
        "make the laptop's screen visible",
        "the {colour} laptop should stand open",
        "unfold the laptop",
        "tilt the screen of the notebook back with the {arm} hand",
        "get the computer ready by opening it",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(LAPTOP_AREA)
        self.laptop = laptop(self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)), opened=START_SHARE)
        self.arm = "right" if self.laptop.link.point("edge")[0] > self.laptop.position[0] else "left"
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.laptop.colour}

    def check_success(self) -> bool:
        return self.skills.has_opened(self.arm, self.laptop, OPEN_SHARE, "edge")

    def expert(self) -> Commands:
        x, y = self.laptop.rotation[:2, 1]
        return {self.arm: self.skills.push(self.arm, self.laptop, "inner", directed(np.arctan2(x, y), PITCH))}

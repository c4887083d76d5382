"""Open the microwave.

Asked: the left arm grasps the door's handle and pulls the door open.
Varies: size, colour and position of the microwave; the instruction.
Done: the door is open by 60 % of its travel, an arm's tool is at the handle and a finger on the door.

Source: RoboTwin 2.0, envs/open_microwave.py, which asks for the open door only (`Predicates.has_opened`).
"""

from __future__ import annotations

from envs.constants import ARMS
from envs.tabletop.objects.articulated import microwave
from envs.tabletop.skills import Grasp
from envs.tabletop.task import Commands, Task

MICROWAVE_AREA = ((-0.12, 0.15), (-0.02, 0.2))  # m
CLEARANCE = 0.22  # m, half width of the square without clutter
DOOR_AREA = (-0.4, -0.25, 0.25, 0.1)  # m (x0, y0, x1, y1): no clutter where the door swings
OPEN_SHARE = 0.6  # of the travel, RoboTwin's
PITCH = 0.25  # rad below the horizon, of the tool


class OpenMicrowave(Task):
    step_limit = 1500
    instructions = (
        "open the microwave",
        "open the door of the {colour} microwave",
        "pull the microwave's door open by its handle",
        "use the {arm} arm to open the microwave",
        "grab the handle and swing the microwave's door open",
        "take the handle of the {colour} microwave with the {arm} arm and pull",
        "open up the microwave oven on the table",
        "swing the door of the microwave towards you",
        "pull on the handle until the microwave is open",
        "open the {colour} microwave oven",
    )
    unseen_instructions = (
        "let me see inside the microwave",
        "the door of the {colour} microwave should stand open",
        "get the oven ready for a dish by opening it",
        "unclose the microwave with the {arm} hand",
        "draw the oven door aside by its bar",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(MICROWAVE_AREA)
        self.microwave = microwave(self.scene, self.scene.on_table(spot))
        self.arm = "left"
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.clear_areas.append(DOOR_AREA)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.microwave.colour}

    def check_success(self) -> bool:
        return any(self.skills.has_opened(arm, self.microwave, OPEN_SHARE, "grip") for arm in ARMS)

    def expert(self) -> Commands:
        door = self.microwave.link
        handle = door.point("grip")
        rotation = self.skills.reach_rotation(self.arm, handle, PITCH)
        grasp = Grasp(handle, rotation, door.width, opening=0.5)
        return {self.arm: self.skills.pull(self.arm, self.microwave, grasp)}

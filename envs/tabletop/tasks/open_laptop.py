"""RoboTwin's open_laptop: lift the lid of a laptop that stands slightly open."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.articulated import laptop
from envs.tabletop.rotations import directed
from envs.tabletop.task import Commands, Task

OPEN_SHARE = 0.4  # of the travel, RoboTwin's
PITCH = 0.3  # rad below the horizon


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
        spot = self.rng.uniform([-0.05, -0.1], [0.05, 0.05])
        yaw = self.rng.uniform(-np.pi / 3, np.pi / 3)
        self.laptop = laptop(self.scene, self.scene.on_table(spot, yaw), opened=0.2)
        self.arm = "right" if self.laptop.link.point("edge")[0] > self.laptop.position[0] else "left"
        self.scene.keep_clear(spot, 0.26)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.laptop.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate: opened to 40 % of its travel, the tool at the lid; here, on it (`has_opened`)."""
        return self.skills.has_opened(self.arm, self.laptop, OPEN_SHARE, "edge")

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        x, y = self.laptop.rotation[:2, 1]
        commands[self.arm] = self.skills.push(self.arm, self.laptop, "inner", directed(np.arctan2(x, y), PITCH))
        return commands

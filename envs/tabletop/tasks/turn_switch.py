"""Turn the switch's lever down with a closed gripper.

Asked: the nearer arm closes its gripper and pushes the lever down.
Varies: size and colour of the switch, its position and yaw; the instruction.
Done: the lever has reached the end of its travel.

Source: RoboTwin 2.0, envs/turn_switch.py, which uses the arm that the switch faces.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.articulated import switch
from envs.tabletop.task import Commands, Task

SWITCH_AREA = ((-0.25, 0.0), (0.25, 0.1))  # m
MAX_YAW = np.pi / 4  # rad
CLEARANCE = 0.14  # m, half width of the square without clutter
ON = 0.05  # rad from the end of the travel, RoboTwin's
PITCH = 1.2  # rad below the horizon, of the tool


class TurnSwitch(Task):
    step_limit = 400
    instructions = (
        "turn the switch",
        "flip the switch on the table",
        "push the red lever of the switch down",
        "press the lever of the {colour} switch",
        "use the {arm} arm to turn the switch",
        "move the switch's lever to its lower position",
        "close the {arm} gripper and push the lever down",
        "flick the {colour} switch with the {arm} arm",
        "operate the switch",
        "toggle the switch by pushing its lever",
    )
    unseen_instructions = (
        "the lever of the switch should point down",
        "change the state of the {colour} switch",
        "bring the red knob of the switch down",
        "reach for the switch with the {arm} hand and flip it",
        "throw the switch",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(SWITCH_AREA)
        self.switch = switch(self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)))
        self.arm = "right" if self.switch.link.point("tip")[0] > 0 else "left"
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.switch.colour}

    def check_success(self) -> bool:
        return self.switch.joint_position >= self.switch.travel - ON

    def expert(self) -> Commands:
        tip = self.switch.link.point("tip")
        return {self.arm: self.skills.press(self.arm, tip, self.skills.reach_rotation(self.arm, tip, PITCH))}

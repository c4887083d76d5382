"""RoboTwin's turn_switch: turn the switch's lever down with a closed gripper."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.articulated import switch
from envs.tabletop.task import Commands, Task

ON = 0.05  # rad from the end of the travel, RoboTwin's
PITCH = 1.2  # rad below the horizon


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
        spot = self.rng.uniform([-0.25, 0.0], [0.25, 0.1])
        yaw = self.rng.uniform(-np.pi / 4, np.pi / 4)
        self.switch = switch(self.scene, self.scene.on_table(spot, yaw))
        self.arm = "right" if self.switch.link.point("tip")[0] > 0 else "left"  # the near arm; RoboTwin: the facing one
        self.scene.keep_clear(spot, 0.14)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.switch.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate: the lever has reached the end of its travel."""
        return self.switch.joint_position >= self.switch.travel - ON

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        tip = self.switch.link.point("tip")
        commands[self.arm] = self.skills.press(self.arm, tip, self.skills.reach_rotation(self.arm, tip, PITCH))
        return commands

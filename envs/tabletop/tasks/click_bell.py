"""RoboTwin's click_bell: press the bell's button with a closed gripper."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.tools import bell
from envs.tabletop.scene import upright
from envs.tabletop.skills import TIP, UP
from envs.tabletop.task import Commands, Task, closeness

CLOSED_COMMAND = 0.2  # RoboTwin calls a gripper closed below this command
NEAR_TOP = (0.025, 0.025, 0.03)  # m


class ClickBell(Task):
    step_limit = 400
    instructions = (
        "click the bell",
        "press the button on top of the bell",
        "ring the desk bell with a closed gripper",
        "push the bell's button down",
        "tap the top of the bell",
        "ring the bell with the {arm} arm",
        "close the {arm} gripper and press the bell",
        "use the {arm} arm to click the bell",
        "make the desk bell ring",
        "touch the button of the bell from above",
    )
    unseen_instructions = (
        "let me hear the bell",
        "give the bell on the table a short press",
        "reach over the bell with the {arm} hand and push its button",
        "strike the bell's knob once",
        "sound the service bell",
    )

    def load_actors(self) -> None:
        x = self.rng.uniform(0.05, 0.25) * self.rng.choice([-1, 1])
        y = self.rng.uniform(-0.2, 0.0)
        self.bell = bell(self.scene, upright([x, y, self.scene.table_top]))
        self.arm = self.skills.near_arm(self.bell)
        self.scene.keep_clear(self.bell.position, 0.09)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm}

    def check_success(self) -> bool:
        """The closed gripper on the bell's side pushes on the bell near its top."""
        arm = self.scene.arms[self.arm]
        if arm.gripper >= CLOSED_COMMAND or self.skills.tool(self.arm).opening > 0.35:
            return False
        top = self.bell.point("top")
        points = self.scene.touching(f"{self.arm}_finger*", self.bell.name)
        return any(bool(np.all(np.abs(point - top) < NEAR_TOP)) for point in points)

    def progress(self) -> float:
        """Half for the gripper closed, half for its fingertips at the button."""
        tool = self.skills.tool(self.arm)
        at_button = closeness(tool.position - TIP * UP - self.bell.point("top"))
        return (at_button + 1 - float(np.clip(tool.opening, 0, 1))) / 2

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        commands[self.arm] = self.skills.press(self.arm, self.bell.point("top"))
        return commands

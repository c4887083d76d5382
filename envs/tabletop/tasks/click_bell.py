"""Press the button of the desk bell with a closed gripper.

Asked: the arm on the bell's side closes its gripper and pushes the button from above.
Varies: size, metal and position of the bell; the instruction.
Done: the fingers of that arm, closed, touch the bell near its button.

Source: RoboTwin 2.0, envs/click_bell.py.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.tools import bell
from envs.tabletop.scene import upright
from envs.tabletop.skills import TIP, UP
from envs.tabletop.task import Commands, Task, closeness

BELL_X, BELL_Y = (0.05, 0.25), (-0.2, 0.0)  # m, ranges; x to either side
CLEARANCE = 0.09  # m, half width of the square without clutter
NEAR_BUTTON = (0.025, 0.025, 0.03)  # m


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
        x = self.rng.uniform(*BELL_X) * self.random_side()
        y = self.rng.uniform(*BELL_Y)
        self.bell = bell(self.scene, upright([x, y, self.scene.table_top]))
        self.arm = self.skills.near_arm(self.bell)
        self.scene.keep_clear(self.bell.position, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm}

    def check_success(self) -> bool:
        return self.skills.is_closed(self.arm) and self.skills.presses(self.arm, self.bell, "top", NEAR_BUTTON)

    def progress(self) -> float:
        """Half for the gripper closed, half for its fingertips at the button."""
        tool = self.skills.tool(self.arm)
        at_button = closeness(tool.position - TIP * UP - self.bell.point("top"))
        return (at_button + 1 - float(np.clip(tool.opening, 0, 1))) / 2

    def expert(self) -> Commands:
        return {self.arm: self.skills.press(self.arm, self.bell.point("top"))}

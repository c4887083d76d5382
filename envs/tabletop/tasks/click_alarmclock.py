"""RoboTwin's click_alarmclock: press the button on top of the alarm clock with a closed gripper."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import alarm_clock
from envs.tabletop.task import Commands, Task

CLOSED_COMMAND = 0.2  # RoboTwin calls a gripper closed below this command
NEAR_TOP = (0.03, 0.03, 0.03)  # m, RoboTwin's
PITCH = 1.3  # rad below the horizon


class ClickAlarmclock(Task):
    step_limit = 400
    instructions = (
        "click the alarm clock",
        "press the button on top of the alarm clock",
        "switch the {colour} alarm clock off",
        "use the {arm} arm to press the alarm clock",
        "push the alarm clock's button down",
        "tap the top of the {colour} alarm clock",
        "close the {arm} gripper and press the clock's button",
        "hit snooze on the alarm clock",
        "bring the closed {arm} gripper down on the clock's button",
        "click the button of the {colour} clock",
    )
    unseen_instructions = (
        "stop the alarm from ringing",
        "the button of the {colour} clock wants pressing",
        "silence the alarm clock with the {arm} hand",
        "give the clock on the table a push from above",
        "let it snooze by touching the clock's top",
    )

    def load_actors(self) -> None:
        spot = self.rng.uniform([0.05, -0.2], [0.25, 0.0]) * [self.rng.choice([-1, 1]), 1]
        yaw = self.rng.uniform(-np.pi, np.pi)
        self.clock = alarm_clock(self.scene, self.scene.on_table(spot, yaw))
        self.arm = self.skills.near_arm(self.clock)
        self.scene.keep_clear(spot, 0.1)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.clock.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate: the closed gripper of the clock's side pushes on the clock near its button."""
        if self.scene.arms[self.arm].gripper >= CLOSED_COMMAND or self.skills.tool(self.arm).opening > 0.35:
            return False
        top = self.clock.point("top")
        points = self.scene.touching(f"{self.arm}_finger*", self.clock.name)
        return any(bool(np.all(np.abs(point - top) < NEAR_TOP)) for point in points)

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        top = self.clock.point("top")
        commands[self.arm] = self.skills.press(self.arm, top, self.skills.reach_rotation(self.arm, top, PITCH))
        return commands

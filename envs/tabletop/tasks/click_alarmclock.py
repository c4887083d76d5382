"""Press the button on top of the alarm clock with a closed gripper.

Asked: the arm on the clock's side closes its gripper and pushes the button from above.
Varies: shape, size and colour of the clock, its position and yaw; the instruction.
Done: the fingers of that arm, closed, touch the clock near its button.

Source: RoboTwin 2.0, envs/click_alarmclock.py.
"""

from __future__ import annotations

from envs.tabletop.objects.office import alarm_clock
from envs.tabletop.task import Commands, Task

CLOCK_AREA = ((0.05, -0.2), (0.25, 0.0))  # m, on either side
CLEARANCE = 0.1  # m, half width of the square without clutter
NEAR_BUTTON = (0.03, 0.03, 0.03)  # m, RoboTwin's
PITCH = 1.3  # rad below the horizon, of the tool


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
        spot = self.random_xy(CLOCK_AREA) * [self.random_side(), 1]
        self.clock = alarm_clock(self.scene, self.scene.on_table(spot, self.random_yaw()))
        self.arm = self.skills.near_arm(self.clock)
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.clock.colour}

    def check_success(self) -> bool:
        return self.skills.is_closed(self.arm) and self.skills.presses(self.arm, self.clock, "top", NEAR_BUTTON)

    def expert(self) -> Commands:
        button = self.clock.point("top")
        return {self.arm: self.skills.press(self.arm, button, self.skills.reach_rotation(self.arm, button, PITCH))}

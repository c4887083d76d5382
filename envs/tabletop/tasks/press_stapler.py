"""Press the stapler with a closed gripper.

Asked: the arm on the stapler's side closes its gripper and pushes the stapler's upper half down.
Varies: size and colour of the stapler, its position and yaw; the instruction.
Done: the fingers of that arm, together, touch the stapler near its top.

Source: RoboTwin 2.0, envs/press_stapler.py. That the fingers must be together is ours.
"""

from __future__ import annotations

from envs.tabletop.objects.office import stapler
from envs.tabletop.task import Commands, Task

STAPLER_AREA = ((-0.2, -0.1), (0.2, 0.05))  # m
CLEARANCE = 0.12  # m, half width of the square without clutter
NEAR_TOP = (0.03, 0.03, 0.03)  # m, RoboTwin's
PITCH = 1.3  # rad below the horizon, of the tool


class PressStapler(Task):
    step_limit = 400
    instructions = (
        "press the stapler",
        "push the top of the {colour} stapler down",
        "use the {arm} arm to press the stapler",
        "staple with the stapler on the table",
        "close the {arm} gripper and press the stapler from above",
        "push down on the stapler",
        "press the {colour} stapler with the {arm} arm",
        "bring the closed gripper down on the stapler",
        "operate the stapler by pressing on it",
        "give the stapler a push from above",
    )
    unseen_instructions = (
        "make the stapler staple",
        "the {colour} stapler wants pressing",
        "squeeze the stapler against the table with the {arm} hand",
        "touch down on top of the stapler",
        "use the stapler once",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(STAPLER_AREA)
        self.stapler = stapler(self.scene, self.scene.on_table(spot, self.random_yaw()), static=True)
        self.arm = self.skills.near_arm(self.stapler)
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.stapler.colour}

    def check_success(self) -> bool:
        return self.skills.presses(self.arm, self.stapler, "top", NEAR_TOP)

    def expert(self) -> Commands:
        top = self.stapler.point("top")
        return {self.arm: self.skills.press(self.arm, top, self.skills.reach_rotation(self.arm, top, PITCH))}

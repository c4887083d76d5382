"""Grab the rolling pin with both arms and lift it.

Asked: each arm grasps the handle on its side; they lift the rolling pin together.
Varies: looks, position and yaw of the rolling pin; the instruction.
Done: both handles are raised, the rolling pin is level, both grippers are closed and touch it.

Source: RoboTwin 2.0, envs/grab_roller.py. That it must be level and touched by both is ours.
"""

from __future__ import annotations

from envs.constants import ARMS
from envs.tabletop.objects.handheld import roller
from envs.tabletop.task import Commands, Task

ROLLER_AREA, MAX_YAW = ((-0.15, -0.25), (0.15, -0.05)), 0.8  # m; rad
CLEARANCE = 0.22  # m, half width of the square without clutter
LIFTED = 0.06  # m above the table, RoboTwin's
LEVEL = 0.2  # largest slope
PITCH = 1.2  # rad below the horizon, of both tools
STEP = 0.03  # m, by which the expert lifts at once


class GrabRoller(Task):
    step_limit = 400
    instructions = (
        "grab the roller with both arms and lift it",
        "pick up the {colour} rolling pin with both arms",
        "take the roller by its two handles and raise it",
        "lift the rolling pin off the table, one arm at each end",
        "use the left and the right arm to hold up the {colour} roller",
        "grasp both handles of the roller and lift it level",
        "raise the {colour} rolling pin with two grippers",
        "both arms grab an end of the roller and move it up",
        "hold the rolling pin at both ends and lift",
        "get hold of the roller on both sides and pick it up",
    )
    unseen_instructions = (
        "the rolling pin should hang in the air between the two hands",
        "one handle for each gripper, then up with the {colour} roller",
        "heave the roller from the table with two arms",
        "let both hands carry the {colour} rolling pin upwards",
        "the roller has to leave the table, held at both ends",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(ROLLER_AREA)
        self.roller = roller(self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)))
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"colour": self.roller.colour}

    def check_success(self) -> bool:
        held = all(self.skills.is_gripping(arm) and self.skills.touches(arm, self.roller) for arm in ARMS)
        lifted = min(self.roller.point(arm)[2] for arm in ARMS) > self.scene.table_top + LIFTED
        return bool(held and lifted and abs(self.roller.rotation[2, 0]) < LEVEL)

    def expert(self) -> Commands:
        grasps = {arm: self.skills.long_grasp(arm, self.roller, PITCH, point=arm) for arm in ARMS}
        return self.skills.lift_together(grasps, STEP)

"""RoboTwin's grab_roller: both arms take the roller by its handles and lift it."""

from __future__ import annotations

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import roller
from envs.tabletop.task import Commands, Task

RISE = 0.06  # m above the table, RoboTwin's
LEVEL = 0.2  # largest slope
PITCH = 1.2  # rad below the horizon
CLOSED_COMMAND = 0.5


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
        spot = self.rng.uniform([-0.15, -0.25], [0.15, -0.05])
        yaw = self.rng.uniform(-0.8, 0.8)
        self.roller = roller(self.scene, self.scene.on_table(spot, yaw))
        self.scene.keep_clear(spot, 0.22)

    def slots(self) -> dict[str, str]:
        return {"colour": self.roller.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate: lifted, both grippers closed; and level, held by both."""
        closed = all(self.scene.arms[arm].gripper < CLOSED_COMMAND for arm in kin.ARMS)
        held = all(self.scene.touching(f"{arm}_finger*", self.roller.name) for arm in kin.ARMS)
        lifted = min(self.roller.point(arm)[2] for arm in kin.ARMS) > self.scene.table_top + RISE
        return bool(closed and held and lifted and abs(self.roller.rotation[2, 0]) < LEVEL)

    def expert(self) -> Commands:
        grips = {arm: self.skills.long_grasp(arm, self.roller, PITCH, point=arm) for arm in kin.ARMS}
        return self.skills.lift_together(grips, rise=0.03)

"""Pick the bottle up and shake it.

Asked: the arm on the bottle's side lifts it and tilts it to and fro.
Varies: kind, size and colour of the bottle, its side, position and yaw; the instruction.
Done: since it was lifted the bottle has been swung to and fro three times, that arm's fingers on it.

Source: RoboTwin 2.0, envs/shake_bottle.py, which asks for the lifted bottle only; its expert shakes three times.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.tabletop.objects.handheld import BOTTLES
from envs.tabletop.rotations import directed, rotation_about
from envs.tabletop.skills import CLOSED, Command
from envs.tabletop.task import Commands, Task

BOTTLE_AREA, MAX_YAW = ((0.1, -0.15), (0.15, -0.05)), np.pi / 4  # m, on either side; rad
CLEARANCE = 0.1  # m, half width of the square without clutter
LIFTED = 0.06  # m above its start, RoboTwin's
SWINGS = 6  # to and fro three times
SHAKE_AT = np.array([0.2, -0.12, 0.19])  # m, of the grasp point: for the right arm, above the table
AT_PLACE, BELOW_PLACE = 0.05, 0.06  # m: there, in the plane and in height, the expert begins to shake
PITCH = 0.7  # rad below the horizon, of the tool
TILT, HEAVE = 1.2, 0.025  # rad, m: how far the expert swings to each side


def tilted(angle: float) -> np.ndarray:
    """Rotation [3, 3] of a tool that holds the bottle leaning to the right by `angle` (rad)."""
    return rotation_about(np.array([0.0, 1.0, 0.0]), angle) @ directed(0.0, PITCH)


class ShakeBottle(Task):
    """The swings are counted in `check_success`, which the environment calls once per control step.

    A swing is a change of `measure` by `span` or more; the expert turns back when one is counted.
    """

    step_limit = 700
    span: ClassVar[float] = 0.8  # of `measure`
    instructions = (
        "shake the {bottle}",
        "pick up the {bottle} and shake it",
        "take the {colour} {bottle} with the {arm} arm and give it a shake",
        "lift the {bottle} and tilt it to and fro a few times",
        "grab the {bottle} with the {arm} arm and shake it three times",
        "use the {arm} arm to shake the {colour} {bottle}",
        "raise the {bottle} off the table and shake what is in it",
        "hold the {colour} {bottle} in the air and swing it from side to side",
        "mix the contents of the {bottle} by shaking it",
        "pick the {bottle} up with the {arm} gripper and rock it back and forth",
    )
    unseen_instructions = (
        "the {colour} {bottle} needs a good shake",
        "stir up the {bottle} in mid-air",
        "swing the {bottle} left and right with the {arm} hand",
        "shake well: the {bottle}",
        "let the {arm} hand rock the {colour} {bottle}",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(BOTTLE_AREA, self.random_side())
        self.kind = self.random_kind(sorted(BOTTLES))
        self.bottle = BOTTLES[self.kind](self.scene, self.scene.on_table(spot, self.random_yaw(MAX_YAW)))
        self.arm = self.skills.near_arm(self.bottle)
        self.swings, self.heading, self.turning = 0, 0, 0.0  # counted, present direction, `measure` where it began
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"bottle": self.kind, "colour": self.bottle.colour, "arm": self.arm}

    def measure(self) -> float:
        """What swings: how far the bottle leans to the right (sine)."""
        return float(self.bottle.rotation[0, 2])

    def in_the_air(self) -> bool:
        """RoboTwin's predicate, the bottle is lifted; and it is in the gripper."""
        lifted = self.bottle.point("grip")[2] > self.scene.table_top + self.bottle.points["grip"][2] + LIFTED
        return bool(lifted and self.skills.touches(self.arm, self.bottle))

    def check_success(self) -> bool:
        """Counts the swings; call it once per control step."""
        value = self.measure()
        if not self.in_the_air():
            self.swings, self.heading, self.turning = 0, 0, value
        elif self.heading * (value - self.turning) > 0:  # continues in its direction
            self.turning = value
        elif abs(value - self.turning) > self.span:
            self.swings, self.heading, self.turning = self.swings + 1, int(np.sign(value - self.turning)), value
        return self.swings >= SWINGS

    def expert(self) -> Commands:
        grasp = self.skills.round_grasp(self.arm, self.bottle, PITCH)
        if self.skills.holds(self.arm, grasp):
            return {self.arm: self.shake(-self.heading or (1 if self.turning < 0 else -1))}
        return {self.arm: self.skills.grasp_actor(self.arm, grasp)}

    def shake_at(self) -> np.ndarray:
        """The middle of the swings (m, scene)."""
        return self.skills.mirrored(self.arm, SHAKE_AT)

    def shake(self, direction: int) -> Command:
        """Lifts the bottle, then swings it to the left (-1) or right (1)."""
        held, goal = self.bottle.point("grip"), self.shake_at()
        if np.linalg.norm((held - goal)[:2]) > AT_PLACE or held[2] < goal[2] - BELOW_PLACE:
            return self.skills.lift_to(self.arm, held, goal, tilted(0.0))
        tool = self.skills.tool(self.arm).position
        return Command(tool + goal - held + [0, 0, direction * HEAVE], tilted(direction * TILT), CLOSED)

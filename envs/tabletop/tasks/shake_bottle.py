"""RoboTwin's shake_bottle: pick the bottle up and shake it, tilting it to and fro."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import BOTTLES
from envs.tabletop.rotations import directed, rotation_about
from envs.tabletop.skills import CLOSED, Command
from envs.tabletop.task import Commands, Task

LIFTED = 0.06  # m above the table, RoboTwin's
SWINGS = 6  # to and fro three times, as RoboTwin's expert does
PLACE = np.array([0.2, -0.12, 0.19])  # m, where the right arm shakes, above the table
PITCH = 0.7  # rad below the horizon
TILT, HEAVE = 1.2, 0.025  # rad, m: how far the expert swings to each side


def tilted(angle: float) -> np.ndarray:
    """Rotation [3, 3] of a tool that holds the bottle leaning to the right by `angle` (rad)."""
    return rotation_about(np.array([0.0, 1.0, 0.0]), angle) @ directed(0.0, PITCH)


class ShakeBottle(Task):
    """The swings so far are counted in `success`, which the environment calls once per control step.

    A swing is a change of `measure` by `span` or more; the expert turns back when one is counted.
    """

    step_limit = 700
    span = 0.8  # of `measure`
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
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.1, -0.15], [0.15, -0.05]) * [side, 1]
        self.kind = str(self.rng.choice(sorted(BOTTLES)))
        yaw = self.rng.uniform(-np.pi / 4, np.pi / 4)
        self.bottle = BOTTLES[self.kind](self.scene, self.scene.on_table(spot, yaw))
        self.arm = self.skills.near_arm(self.bottle)
        self.swings, self.heading, self.turning = 0, 0, 0.0  # counted, their present direction, where it began
        self.scene.keep_clear(spot, 0.1)

    def slots(self) -> dict[str, str]:
        return {"bottle": self.kind, "colour": self.bottle.colour, "arm": self.arm}

    def measure(self) -> float:
        """What swings: how far the bottle leans to the right (sine)."""
        return float(self.bottle.rotation[0, 2])

    def in_the_air(self) -> bool:
        """RoboTwin's predicate: the bottle is lifted; and it is in the gripper."""
        lifted = self.bottle.point("grip")[2] > self.scene.table_top + self.bottle.points["grip"][2] + LIFTED
        return bool(lifted and self.scene.touching(f"{self.arm}_finger*", self.bottle.name))

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the bottle has been swung to and fro three times since it was lifted."""
        value = self.measure()
        if not self.in_the_air():
            self.swings, self.heading, self.turning = 0, 0, value
        elif self.heading * (value - self.turning) > 0:  # goes on in its direction
            self.turning = value
        elif abs(value - self.turning) > self.span:
            self.swings, self.heading, self.turning = self.swings + 1, int(np.sign(value - self.turning)), value
        return self.swings >= SWINGS

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        grip = self.skills.round_grasp(self.arm, self.bottle, PITCH)
        if self.holds():
            commands[self.arm] = self.shake(-self.heading or (1 if self.turning < 0 else -1))
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip)
        return commands

    def holds(self) -> bool:
        """Whether the arm has the bottle."""
        return self.skills.pinches(self.arm, self.bottle.point("grip"), self.bottle.width)

    def place(self) -> np.ndarray:
        """The middle of the shaking (m, scene)."""
        return PLACE * [1 if self.arm == "right" else -1, 1, 1] + [0, 0, self.scene.table_top]

    def shake(self, way: int) -> Command:
        """Towards the side `way` (-1 or 1), after lifting the bottle to the place of the shaking."""
        held, goal, level = self.bottle.point("grip"), self.place(), tilted(0.0)
        if np.linalg.norm((held - goal)[:2]) > 0.05 or held[2] < goal[2] - 0.06:
            return self.skills.lift_to(self.arm, held, goal, level)
        tool = self.skills.tool(self.arm).position
        return Command(tool + goal - held + [0, 0, way * HEAVE], tilted(way * TILT), CLOSED)

"""RoboTwin's move_stapler_pad: put the stapler on the coloured pad, along it."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import pad, stapler
from envs.tabletop.rotations import wrapped, yaw_of
from envs.tabletop.skills import lengthwise
from envs.tabletop.task import Commands, Task

ON_PAD, ALIGNED = (0.02, 0.02, 0.01), 0.04  # m, rad: RoboTwin's
PAD = (0.055, 0.03)  # m, half sizes


class MoveStaplerPad(Task):
    step_limit = 400
    instructions = (
        "move the stapler onto the {pad} pad",
        "pick up the {colour} stapler and put it on the {pad} pad",
        "place the stapler on the {pad} mat, lined up with it",
        "use the {arm} arm to move the stapler to the pad",
        "grab the stapler and set it down along the {pad} pad",
        "put the {colour} stapler on the pad with the {arm} arm",
        "take the stapler to the {pad} pad and let go",
        "lift the stapler, turn it and lower it onto the {pad} pad",
        "lay the stapler straight on the {pad} pad",
        "move the {colour} stapler to the middle of the {pad} pad",
    )
    unseen_instructions = (
        "the stapler belongs on the {pad} pad",
        "align the {colour} stapler with the {pad} rectangle, on top of it",
        "with the {arm} hand, bring the stapler onto its pad",
        "the {pad} pad should end up under the stapler",
        "park the {colour} stapler on the {pad} mat",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.05, -0.2], [0.25, 0.0]) * [side, 1]
        self.stapler = stapler(self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi, np.pi)))
        goal = spot
        while np.linalg.norm(goal - spot) < 0.1:
            goal = self.rng.uniform([0.05, -0.2], [0.25, 0.0]) * [side, 1]
        self.pad = pad(self.scene, self.scene.on_table(goal), PAD)
        self.arm = self.skills.near_arm(self.stapler)
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(goal, 0.13)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.stapler.colour, "pad": self.pad.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the stapler is let go and rests on the pad."""
        return self.placed() and self.skills.rests_on(self.stapler, self.pad)

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the stapler."""
        offset = np.abs(self.stapler.position - self.pad.point("top"))
        askew = wrapped(lengthwise(self.stapler, 0.0) - yaw_of(self.stapler.rotation))
        return bool(
            np.all(offset < ON_PAD)
            and abs(askew) < ALIGNED
            and self.skills.all_open()
            and not self.scene.fingers_on(self.stapler.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        yaw, goal = lengthwise(self.stapler, 0.0), self.pad.point("top")
        grip = self.skills.turning_grasp(self.arm, self.stapler, goal, yaw)
        if self.skills.holds(self.arm, grip):
            rotation = self.skills.rotation_to_face(self.arm, self.stapler, yaw)
            commands[self.arm] = self.skills.place_actor(self.arm, self.stapler, goal, rotation, twist=0.02)
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip)
        return commands

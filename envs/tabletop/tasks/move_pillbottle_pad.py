"""RoboTwin's move_pillbottle_pad: put the pill bottle on the pad."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import pill_bottle, square_pad
from envs.tabletop.scene import upright
from envs.tabletop.task import Commands, Task

PITCH = 1.0  # rad below the horizon
ON_PAD, HEIGHT = 0.03, 0.005  # m, RoboTwin's


class MovePillbottlePad(Task):
    step_limit = 400
    instructions = (
        "move the pill bottle onto the pad",
        "put the {colour} pill bottle on the {pad} pad",
        "pick up the pill bottle with the {arm} arm and place it on the pad",
        "place the pill bottle in the middle of the {pad} square",
        "grab the {colour} bottle of pills and set it down on the pad",
        "use the {arm} arm to stand the pill bottle on the pad",
        "take the medicine bottle and put it on the {pad} pad",
        "lift the pill bottle and lower it onto the pad",
        "carry the {colour} pill bottle over to the pad",
        "set the small bottle down on the {pad} pad and let go",
    )
    unseen_instructions = (
        "the pill bottle belongs on the {pad} square",
        "let the {colour} medicine bottle stand on the pad",
        "with the {arm} hand, bring the pills to the pad",
        "relocate the pill bottle so that the pad is under it",
        "the pad is where the {colour} pill bottle should end up",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.05, -0.1], [0.25, 0.1]) * [side, 1]
        goal = spot
        while np.linalg.norm(goal - spot) < 0.1:
            goal = self.rng.uniform([0.05, -0.2], [0.25, 0.1]) * [side, 1]
        self.bottle = pill_bottle(self.scene, self.scene.on_table(spot, self.rng.uniform(-0.5, 0.5)))
        self.pad = square_pad(self.scene, upright([*goal, self.scene.table_top]))
        self.arm = self.skills.near_arm(self.bottle)
        self.scene.keep_clear(spot, 0.1)
        self.scene.keep_clear(goal, 0.1)

    def slots(self) -> dict[str, str]:
        return {"colour": self.bottle.colour, "pad": self.pad.colour, "arm": self.arm}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the bottle stands upright on the pad, let go."""
        offset = np.abs(self.bottle.position - self.pad.point("top"))
        return bool(
            np.all(offset < [ON_PAD, ON_PAD, HEIGHT])
            and self.skills.all_open()
            and self.bottle.rotation[2, 2] > 0.95
            and self.skills.rests_on(self.bottle, self.pad)
            and not self.scene.fingers_on(self.bottle.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        goal, grip = self.pad.point("top"), self.skills.round_grasp(self.arm, self.bottle, PITCH)
        rotation = self.skills.reach_rotation(self.arm, goal, PITCH)
        commands[self.arm] = self.skills.pick_and_place(self.arm, self.bottle, grip, goal, rotation)
        return commands

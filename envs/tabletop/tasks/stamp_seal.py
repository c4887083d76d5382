"""RoboTwin's stamp_seal: set the seal down on the coloured square."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import pad, seal
from envs.tabletop.task import Commands, Task

ON_SQUARE = 0.01  # m, RoboTwin's
SQUARE = (0.035, 0.035)  # m, half sizes
PITCH = 1.0  # rad below the horizon


class StampSeal(Task):
    step_limit = 400
    instructions = (
        "stamp the {square} square with the seal",
        "pick up the {colour} seal and put it on the {square} square",
        "use the {arm} arm to stamp the {square} paper",
        "place the stamp in the middle of the {square} square",
        "grab the seal by its handle and stamp the {square} field",
        "take the {colour} stamp with the {arm} arm and press it on the square",
        "move the seal onto the {square} square and let go",
        "lift the seal and lower it onto the {square} paper",
        "set the {colour} seal down exactly on the {square} square",
        "stamp the square on the table with the {colour} seal",
    )
    unseen_instructions = (
        "the {square} sheet needs a stamp",
        "the {colour} seal belongs on the {square} square",
        "with the {arm} hand, put a seal on the {square} field",
        "certify the {square} paper",
        "make the stamp stand right in the middle of the {square} square",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.05, -0.05], [0.25, 0.05]) * [side, 1]
        goal = spot
        while np.linalg.norm(goal - spot) < 0.1:
            goal = self.rng.uniform([0.05, -0.05], [0.25, 0.1]) * [side, 1]
        self.seal = seal(self.scene, self.scene.on_table(spot))
        self.square = pad(self.scene, self.scene.on_table(goal), SQUARE, name="square")
        self.arm = self.skills.near_arm(self.seal)
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(goal, 0.12)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.seal.colour, "square": self.square.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the seal is let go and rests on the square."""
        return self.placed() and self.skills.rests_on(self.seal, self.square)

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the seal."""
        offset = np.abs(self.seal.position - self.square.point("top"))
        return bool(
            np.all(offset[:2] < ON_SQUARE)
            and self.seal.rotation[2, 2] > 0.95
            and self.skills.all_open()
            and not self.scene.fingers_on(self.seal.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        goal, grip = self.square.point("top"), self.skills.round_grasp(self.arm, self.seal, PITCH)
        rotation = self.skills.reach_rotation(self.arm, goal, PITCH)
        commands[self.arm] = self.skills.pick_and_place(self.arm, self.seal, grip, goal, rotation)
        return commands

"""RoboTwin's move_can_pot: put the can down beside the pot."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.containers import pot
from envs.tabletop.objects.tableware import can
from envs.tabletop.rotations import directed
from envs.tabletop.task import Commands, Task

BESIDE, ALONG, UPRIGHT = 0.2, 0.035, 0.966  # m, m, cosine of 15 degrees: RoboTwin's
GOAL = np.array([0.185, -0.005, 0.001])  # m, from the pot to where the right arm puts the can
PITCH, AZIMUTH = 0.9, 0.9  # rad: the can is set down from outside, so that open fingers clear the pot's ear


class MoveCanPot(Task):
    step_limit = 400
    instructions = (
        "move the can next to the pot",
        "put the {colour} can beside the {pot} pot",
        "pick up the can with the {arm} arm and place it next to the pot",
        "set the can down on the {arm} side of the pot",
        "use the {arm} arm to move the {colour} can to the pot",
        "place the can close to the cooking pot",
        "grab the {colour} can and stand it beside the pot",
        "take the can and put it down by the {pot} pot",
        "bring the can to the {arm} of the pot",
        "lift the can with the {arm} arm and put it at the pot's side",
    )
    unseen_instructions = (
        "the can belongs right beside the {pot} pot",
        "let the {colour} can stand at the {arm} ear of the pot",
        "can and pot should stand side by side",
        "with the {arm} hand, shift the can over to the pot",
        "park the {colour} can next to the pot",
    )

    def load_actors(self) -> None:
        yaw = self.rng.uniform(-np.pi / 8, np.pi / 8)
        self.pot = pot(self.scene, self.scene.on_table(np.zeros(2), yaw))
        spot = np.zeros(2)
        while np.linalg.norm(spot) < 0.3 or abs(spot[0]) < 0.2:
            spot = self.rng.uniform([-0.3, 0.05], [0.3, 0.15])
        self.can = can(self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi / 4, np.pi / 4)))
        self.arm = self.skills.near_arm(self.can)
        self.side = 1 if self.arm == "right" else -1
        self.scene.keep_clear(spot, 0.1)
        self.scene.keep_clear(np.zeros(2), 0.16)
        self.scene.keep_clear(np.array([self.side * 0.2, 0.0]), 0.11)

    def slots(self) -> dict[str, str]:
        return {"colour": self.can.colour, "pot": self.pot.colour, "arm": self.arm}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the can stands on the table, let go; the pot stands too."""
        offset = (self.can.position - self.pot.position) * [self.side, 1, 1]
        beside = 0.0 < offset[0] < BESIDE and abs(offset[1]) < ALONG
        standing = min(self.can.rotation[2, 2], self.pot.rotation[2, 2]) > UPRIGHT
        return bool(
            beside
            and standing
            and self.skills.all_open()
            and self.skills.rests_on(self.can, self.scene.bodies["table"])
            and not self.scene.fingers_on(self.can.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        goal = self.pot.position + GOAL * [self.side, 1, 1]
        grip = self.skills.round_grasp(self.arm, self.can, PITCH)
        rotation = directed(-self.side * AZIMUTH, PITCH)
        commands[self.arm] = self.skills.pick_and_place(self.arm, self.can, grip, goal, rotation)
        return commands

"""RoboTwin's place_empty_cup: put the cup on the coaster."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.tableware import coaster, cup
from envs.tabletop.scene import upright
from envs.tabletop.task import Commands, Task

PITCH = 1.0  # rad below the horizon
ON_COASTER, HEIGHT = 0.035, 0.015  # m, RoboTwin's


class PlaceEmptyCup(Task):
    step_limit = 500
    instructions = (
        "place the empty cup on the coaster",
        "pick up the {colour} cup and put it on the {coaster} coaster",
        "set the cup down in the middle of the coaster",
        "move the cup onto the coaster",
        "grab the empty {colour} cup and place it on the round mat",
        "use the {arm} arm to put the cup on the coaster",
        "take the cup with the {arm} arm and set it on the coaster",
        "carry the cup to the {coaster} coaster",
        "lift the cup and lower it onto the coaster",
        "put the {colour} cup where the coaster is",
    )
    unseen_instructions = (
        "the {coaster} coaster should end up under the {colour} cup",
        "bring the cup over to its coaster and let go",
        "with the {arm} hand, stand the cup on the coaster",
        "give the cup a coaster to stand on",
        "relocate the cup so that it rests on the coaster",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))  # the cup's side; the coaster may lie across the middle
        cup_spot = self.rng.uniform([0.15, -0.2], [0.3, 0.05]) * [side, 1]
        spot = cup_spot
        while np.linalg.norm(spot - cup_spot) < 0.1:
            spot = self.rng.uniform([-0.05, -0.2], [0.1, 0.05]) * [side, 1]
        top = self.scene.table_top
        self.cup = cup(self.scene, self.scene.on_table(cup_spot))
        self.coaster = coaster(self.scene, upright([*spot, top]))
        self.arm = self.skills.near_arm(self.cup)
        self.scene.keep_clear(cup_spot, 0.1)
        self.scene.keep_clear(spot, 0.1)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.cup.colour, "coaster": self.coaster.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the cup stands on the coaster, let go."""
        offset = self.cup.position - self.coaster.point("top")
        placed = np.linalg.norm(offset[:2]) < ON_COASTER and abs(offset[2]) < HEIGHT
        return bool(
            placed
            and self.skills.all_open()
            and self.skills.rests_on(self.cup, self.coaster)
            and not self.scene.fingers_on(self.cup.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        grip, goal = self.cup.point("grip"), self.coaster.point("top")
        if self.skills.pinches(self.arm, grip, self.cup.width):
            rotation = self.skills.reach_rotation(self.arm, goal, PITCH)
            commands[self.arm] = self.skills.place_actor(self.arm, self.cup, goal, rotation)
        else:
            rotation = self.skills.reach_rotation(self.arm, grip, PITCH)
            commands[self.arm] = self.skills.grasp_point(self.arm, grip, rotation)
        return commands

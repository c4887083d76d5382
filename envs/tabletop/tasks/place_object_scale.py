"""RoboTwin's place_object_scale: put the object on the scale."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import electronic_scale, hand_bell, mouse, stapler
from envs.tabletop.task import Commands, Task

ON_SCALE, BELOW = 0.035, 0.01  # m, RoboTwin's
APART = 0.18  # m; RoboTwin's 0.15 would let our longest stapler touch the scale
PITCH = 1.2  # rad below the horizon
KINDS = {"mouse": mouse, "stapler": stapler, "bell": hand_bell}


class PlaceObjectScale(Task):
    step_limit = 400
    instructions = (
        "place the {object} on the scale",
        "pick up the {colour} {object} and put it on the scale",
        "weigh the {object} on the electronic scale",
        "use the {arm} arm to put the {object} on the scale",
        "set the {object} down in the middle of the scale",
        "grab the {colour} {object} and weigh it",
        "move the {object} onto the {scale} scale",
        "take the {object} with the {arm} arm and place it on the scale's plate",
        "lift the {colour} {object} and lower it onto the weighing scale",
        "put the {object} on the {scale} electronic scale",
    )
    unseen_instructions = (
        "find out how heavy the {object} is",
        "the {colour} {object} should rest on the scale",
        "let the {arm} hand bring the {object} to the scale",
        "have the {scale} scale carry the {object}",
        "get a reading of the {object}'s weight",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        low, high = [0.02, -0.2], [0.25, 0.05]
        spot, goal = np.zeros((2, 2))
        while np.linalg.norm(goal - spot) < APART:
            spot, goal = self.rng.uniform(low, high, (2, 2)) * [side, 1]
        self.kind = str(self.rng.choice(list(KINDS)))
        self.object = KINDS[self.kind](self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi, np.pi)))
        self.scale = electronic_scale(self.scene, self.scene.on_table(goal, self.rng.uniform(-np.pi, np.pi)))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(goal, 0.14)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "object": self.kind, "colour": self.object.colour, "scale": self.scale.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the object is let go and rests on the scale."""
        return self.placed() and self.skills.rests_on(self.object, self.scale)

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the object."""
        offset = self.object.position - self.scale.point("top")
        return bool(
            np.linalg.norm(offset[:2]) < ON_SCALE
            and offset[2] > -BELOW
            and self.skills.is_open(self.arm)
            and not self.scene.fingers_on(self.object.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        goal, grip = self.scale.point("top"), self.skills.long_grasp(self.arm, self.object, PITCH)
        rotation = self.skills.reach_rotation(self.arm, goal, PITCH)
        commands[self.arm] = self.skills.pick_and_place(self.arm, self.object, grip, goal, rotation)
        return commands

"""RoboTwin's place_object_stand: put the object on the display stand."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import cube, display_stand, hand_bell, mouse, remote_control, stapler, toy_car
from envs.tabletop.task import Commands, Task

ON_STAND = 0.03  # m, RoboTwin's
PITCH = 1.3  # rad below the horizon
KINDS = {
    "mouse": mouse,
    "stapler": stapler,
    "bell": hand_bell,
    "puzzle cube": cube,
    "toy car": toy_car,
    "remote control": remote_control,
}


class PlaceObjectStand(Task):
    step_limit = 400
    instructions = (
        "place the {object} on the display stand",
        "pick up the {colour} {object} and put it on the stand",
        "put the {object} on show on the {stand} stand",
        "use the {arm} arm to set the {object} on the display stand",
        "set the {object} down on top of the stand",
        "grab the {colour} {object} and place it on the pedestal",
        "move the {object} onto the {stand} display stand",
        "take the {object} with the {arm} arm and put it on the stand",
        "lift the {colour} {object} and lower it onto the stand",
        "put the {object} in the middle of the {stand} stand",
    )
    unseen_instructions = (
        "exhibit the {object} on the pedestal",
        "the {colour} {object} should rest on the stand",
        "let the {arm} hand bring the {object} to the stand",
        "have the {stand} stand carry the {object}",
        "raise the {object} onto its display",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.2, -0.05], [0.28, 0.05]) * [side, 1]
        goal = self.rng.uniform([0.0, -0.15], [0.05, -0.1]) * [side, 1]
        self.kind = str(self.rng.choice(list(KINDS)))
        yaw, stand_yaw = self.rng.uniform(-np.pi / 3, np.pi / 3), self.rng.uniform(-np.pi / 6, np.pi / 6)
        self.object = KINDS[self.kind](self.scene, self.scene.on_table(spot, np.pi / 2 + yaw))
        self.stand = display_stand(self.scene, self.scene.on_table(goal, stand_yaw))
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(goal, 0.14)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "object": self.kind, "colour": self.object.colour, "stand": self.stand.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the object is let go and rests on the stand."""
        return self.placed() and self.skills.rests_on(self.object, self.stand)

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the object."""
        return bool(
            np.all(np.abs(self.object.position - self.stand.position)[:2] < ON_STAND)
            and self.skills.all_open()
            and not self.scene.fingers_on(self.object.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        goal, grip = self.stand.point("top"), self.skills.long_grasp(self.arm, self.object, PITCH)
        rotation = self.skills.reach_rotation(self.arm, goal, PITCH)
        commands[self.arm] = self.skills.pick_and_place(self.arm, self.object, grip, goal, rotation)
        return commands

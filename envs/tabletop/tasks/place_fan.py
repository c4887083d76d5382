"""RoboTwin's place_fan: put the fan on the coloured mat, facing the robot."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import fan, pad
from envs.tabletop.rotations import yaw_of
from envs.tabletop.task import Commands, Task

ON_PAD, ALIGNED = 0.04, 0.14  # m, rad: RoboTwin's
HOVER = 0.05  # m


class PlaceFan(Task):
    step_limit = 400
    instructions = (
        "place the fan on the {pad} mat, facing the robot",
        "pick up the {colour} fan and put it on the {pad} mat so that it blows at you",
        "use the {arm} arm to put the fan on the {pad} mat with its front towards you",
        "move the fan onto the {pad} mat and turn it to face the robot",
        "grab the fan, turn its blades towards you and set it on the {pad} mat",
        "take the {colour} fan to the {pad} mat, front side to the robot",
        "set the fan down on the {pad} mat, its face to the robot",
        "lift the fan by its top and stand it on the {pad} mat, looking at you",
        "put the {colour} fan on the mat with the {arm} arm, blowing at the robot",
        "turn the fan around as needed and place it on the {pad} mat, facing you",
    )
    unseen_instructions = (
        "the fan on the {pad} mat should cool the robot",
        "the {colour} fan belongs on the {pad} square and must look at you",
        "with the {arm} hand, stand the fan on its mat so that you see its front",
        "let the fan blow towards the robot from the {pad} mat",
        "bring the fan over to the {pad} pad and aim it at the robot",
    )

    def load_actors(self) -> None:
        spot = self.rng.uniform([-0.1, -0.15], [0.1, -0.05])
        self.fan = fan(self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi, np.pi)))
        self.arm = self.skills.near_arm(self.fan)
        goal = self.rng.uniform([0.15, -0.15], [0.25, -0.05]) * [1 if self.arm == "right" else -1, 1]
        self.pad = pad(self.scene, self.scene.on_table(goal))
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(goal, 0.15)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.fan.colour, "pad": self.pad.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the fan is let go and rests on the pad."""
        return self.placed() and self.skills.rests_on(self.fan, self.pad)

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the fan."""
        return bool(
            np.all(np.abs(self.fan.position - self.pad.point("top")) < ON_PAD)
            and abs(yaw_of(self.fan.rotation)) < ALIGNED
            and self.fan.rotation[2, 2] > np.cos(ALIGNED)
            and self.skills.all_open()
            and not self.scene.fingers_on(self.fan.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        goal = self.pad.point("top")
        grip = self.skills.turning_grasp(self.arm, self.fan, goal, 0.0)
        if self.skills.holds(self.arm, grip):
            rotation = self.skills.rotation_to_face(self.arm, self.fan, 0.0)
            commands[self.arm] = self.skills.place_actor(self.arm, self.fan, goal, rotation, twist=0.05, hover=HOVER)
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip, HOVER)
        return commands

"""RoboTwin's place_mouse_pad: put the mouse on the coloured pad, lengthwise."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import mouse, pad
from envs.tabletop.rotations import wrapped, yaw_of
from envs.tabletop.skills import lengthwise
from envs.tabletop.task import Commands, Task

ON_PAD, ALIGNED = (0.015, 0.012), 0.4  # m, rad: RoboTwin's
PAD, ALONG = (0.035, 0.065), np.pi / 2  # m, half sizes; rad, yaw of the pad's long side


class PlaceMousePad(Task):
    step_limit = 400
    instructions = (
        "place the mouse on the {pad} pad",
        "pick up the {colour} mouse and put it on the {pad} mouse pad",
        "use the {arm} arm to put the mouse on the pad",
        "move the computer mouse onto the {pad} mat",
        "grab the mouse and set it down lengthwise on the {pad} pad",
        "put the {colour} mouse on the pad with the {arm} arm",
        "take the mouse to the {pad} pad and let go of it",
        "lift the mouse, turn it straight and lower it onto the {pad} pad",
        "set the {colour} computer mouse on its {pad} pad",
        "move the mouse to the middle of the {pad} pad",
    )
    unseen_instructions = (
        "the mouse belongs on the {pad} pad",
        "align the {colour} mouse with the {pad} rectangle, on top of it",
        "with the {arm} hand, bring the mouse back to its pad",
        "the {pad} pad should end up under the mouse",
        "park the {colour} mouse on the {pad} mat",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.05, -0.2], [0.25, 0.0]) * [side, 1]
        self.mouse = mouse(self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi, np.pi)))
        goal = spot
        while np.linalg.norm(goal - spot) < 0.1:
            goal = self.rng.uniform([0.05, -0.2], [0.25, 0.0]) * [side, 1]
        self.pad = pad(self.scene, self.scene.on_table(goal), PAD)
        self.arm = self.skills.near_arm(self.mouse)
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(goal, 0.13)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.mouse.colour, "pad": self.pad.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the mouse is let go and rests on the pad."""
        return self.placed() and self.skills.rests_on(self.mouse, self.pad)

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the mouse."""
        offset = np.abs(self.mouse.position - self.pad.point("top"))
        askew = wrapped(lengthwise(self.mouse, ALONG) - yaw_of(self.mouse.rotation))
        return bool(
            np.all(offset[:2] < ON_PAD)
            and abs(askew) < ALIGNED
            and self.skills.all_open()
            and not self.scene.fingers_on(self.mouse.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        yaw, goal = lengthwise(self.mouse, ALONG), self.pad.point("top")
        grip = self.skills.turning_grasp(self.arm, self.mouse, goal, yaw)
        if self.skills.holds(self.arm, grip):
            rotation = self.skills.rotation_to_face(self.arm, self.mouse, yaw)
            commands[self.arm] = self.skills.place_actor(self.arm, self.mouse, goal, rotation, twist=0.1)
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip)
        return commands

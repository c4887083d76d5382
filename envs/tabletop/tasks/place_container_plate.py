"""RoboTwin's place_container_plate: put the bowl or cup on the plate."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.tableware import bowl, cup, plate
from envs.tabletop.task import Commands, Task

PITCH = 1.1  # rad below the horizon
ON_PLATE, HEIGHT = 0.05, 0.03  # m, RoboTwin's


class PlaceContainerPlate(Task):
    step_limit = 400
    instructions = (
        "place the {container} on the plate",
        "pick up the {colour} {container} and put it on the plate",
        "use the {arm} arm to set the {container} on the plate",
        "move the {container} onto the plate",
        "grab the {colour} {container} with the {arm} arm and place it on the plate",
        "carry the {container} over to the plate and let go",
        "lift the {container} and lower it onto the plate",
        "put the {colour} {container} in the middle of the plate",
        "set the {container} down on the round plate",
        "take the {container} and stand it on the plate",
    )
    unseen_instructions = (
        "the plate should carry the {container}",
        "the {colour} {container} belongs on the plate",
        "serve the {container} on the plate with the {arm} hand",
        "bring {container} and plate together, the {container} on top",
        "shift the {container} until it rests on the plate",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.2, -0.1], [0.28, 0.05]) * [side, 1]
        plate_spot = self.rng.uniform([0.02, -0.15], [0.08, -0.1]) * [side, 1]
        self.kind = str(self.rng.choice(["bowl", "cup"]))
        container = {"bowl": bowl, "cup": cup}[self.kind]
        self.container = container(self.scene, self.scene.on_table(spot))
        self.plate = plate(self.scene, self.scene.on_table(plate_spot), static=True)
        self.arm = self.skills.near_arm(self.container)
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(plate_spot, 0.13)

    def slots(self) -> dict[str, str]:
        return {"container": self.kind, "colour": self.container.colour, "arm": self.arm}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the container stands upright on the plate, let go."""
        offset = np.abs(self.container.position - self.plate.position)
        return bool(
            np.all(offset < [ON_PLATE, ON_PLATE, HEIGHT])
            and self.skills.all_open()
            and self.container.rotation[2, 2] > 0.95
            and self.skills.rests_on(self.container, self.plate)
            and not self.scene.fingers_on(self.container.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        grip_of = {"bowl": self.skills.rim_grasp, "cup": self.skills.round_grasp}[self.kind]
        goal = self.plate.point("top")
        rotation = self.skills.reach_rotation(self.arm, goal, PITCH)
        grip = grip_of(self.arm, self.container, PITCH)
        commands[self.arm] = self.skills.pick_and_place(self.arm, self.container, grip, goal, rotation)
        return commands

"""Put the bowl or cup on the plate.

Asked: the arm on the container's side picks it up and puts it down on the plate.
Varies: the container (bowl or cup), looks of container and plate, the side of the table, positions; the instruction.
Done: the container rests upright on the plate, both grippers are open and no finger touches it.

Source: RoboTwin 2.0, envs/place_container_plate.py. That it must rest there upright, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.tableware import bowl, cup, plate
from envs.tabletop.placing import PlaceTask
from envs.tabletop.task import Commands

KINDS = {"bowl": bowl, "cup": cup}
CONTAINER_AREA, PLATE_AREA = ((0.2, -0.1), (0.28, 0.05)), ((0.02, -0.15), (0.08, -0.1))  # m, on one side, either
CONTAINER_CLEARANCE, PLATE_CLEARANCE = 0.12, 0.13  # m, half widths of the squares without clutter
ON_PLATE, UPRIGHT = (0.05, 0.05, 0.03), 0.95  # m, RoboTwin's; cosine
PITCH = 1.1  # rad below the horizon, of the tool


class PlaceContainerPlate(PlaceTask):
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
        side = self.random_side()
        spot, goal = self.random_xy(CONTAINER_AREA, side), self.random_xy(PLATE_AREA, side)
        self.kind = self.random_kind(KINDS)
        self.object = KINDS[self.kind](self.scene, self.scene.on_table(spot))
        self.target = plate(self.scene, self.scene.on_table(goal), static=True)
        self.arm = self.skills.near_arm(self.object)
        self.scene.keep_clear(spot, CONTAINER_CLEARANCE)
        self.scene.keep_clear(goal, PLATE_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"container": self.kind, "colour": self.object.colour, "arm": self.arm}

    def at_target(self) -> bool:
        offset = np.abs(self.object.position - self.target.position)
        return bool(np.all(offset < ON_PLATE) and self.object.rotation[2, 2] > UPRIGHT)

    def expert(self) -> Commands:
        """A bowl by its rim, a cup across."""
        grasp_of = {"bowl": self.skills.rim_grasp, "cup": self.skills.round_grasp}[self.kind]
        return self.place_on_top(grasp_of(self.arm, self.object, PITCH), PITCH)

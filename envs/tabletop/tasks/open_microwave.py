"""RoboTwin's open_microwave: the left arm pulls the microwave's door open by its handle."""

from __future__ import annotations

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.articulated import microwave
from envs.tabletop.skills import Grasp
from envs.tabletop.task import Commands, Task

OPEN_SHARE = 0.6  # of the travel, RoboTwin's
PITCH = 0.25  # rad below the horizon


class OpenMicrowave(Task):
    step_limit = 1500
    instructions = (
        "open the microwave",
        "open the door of the {colour} microwave",
        "pull the microwave's door open by its handle",
        "use the {arm} arm to open the microwave",
        "grab the handle and swing the microwave's door open",
        "take the handle of the {colour} microwave with the {arm} arm and pull",
        "open up the microwave oven on the table",
        "swing the door of the microwave towards you",
        "pull on the handle until the microwave is open",
        "open the {colour} microwave oven",
    )
    unseen_instructions = (
        "let me see inside the microwave",
        "the door of the {colour} microwave should stand open",
        "get the oven ready for a dish by opening it",
        "unclose the microwave with the {arm} hand",
        "draw the oven door aside by its bar",
    )

    def load_actors(self) -> None:
        spot = self.rng.uniform([-0.12, 0.15], [-0.02, 0.2])
        self.microwave = microwave(self.scene, self.scene.on_table(spot))
        self.arm = "left"
        self.scene.keep_clear(spot, 0.22)
        self.scene.clear_areas.append((-0.4, -0.25, 0.25, 0.1))

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "colour": self.microwave.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate: the door is 60 % open; here, an arm must have its handle too (`has_opened`)."""
        return any(self.skills.has_opened(arm, self.microwave, OPEN_SHARE, "grip") for arm in kin.ARMS)

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        door = self.microwave.link
        handle = door.point("grip")
        grip = Grasp(handle, self.skills.reach_rotation(self.arm, handle, PITCH), door.width, opening=0.5)
        commands[self.arm] = self.skills.pull(self.arm, self.microwave, grip)
        return commands

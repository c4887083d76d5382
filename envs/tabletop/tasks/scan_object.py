"""RoboTwin's scan_object: one arm holds up the carton, the other one points the scanner at its bar code."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import carton, scanner
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Command, Commands, Task

NEAR, ASIDE = 0.07, 0.025  # m, RoboTwin's: from the window to the object along the beam, and across it
FACING = 0.9  # cosine between the beam and the carton's length
CLOSED_COMMAND = 0.5
PLACE = np.array([0.06, -0.1, 0.15])  # m, where the right arm holds the carton, above the table
GAP, WAIT = 0.02, 0.08  # m, from the carton's end to the window: scanning, waiting for the carton


class ScanObject(Task):
    step_limit = 500
    instructions = (
        "scan the {object} with the scanner",
        "pick up the scanner with the {scanning} arm and scan the {colour} {object}",
        "hold the {object} up with the {holding} arm and scan it with the other",
        "take the scanner and the {object}, then point the scanner at the bar code",
        "use the {tool} scanner to read the bar code on the {object}",
        "grab the {colour} {object} and the scanner and bring them together to scan",
        "lift both things and aim the scanner at the {object}",
        "use both arms to scan the {colour} {object}",
        "bring the window of the {tool} scanner in front of the {object}'s bar code",
        "pick up the {object} and scan it",
    )
    unseen_instructions = (
        "check the {colour} {object} out with the scanner",
        "the bar code of the {object} has to be read",
        "{scanning} hand for the scanner, {holding} hand for the {object}, then scan",
        "let the {tool} scanner look at the end of the {object}",
        "register the {object} by scanning it in mid-air",
    )

    def load_actors(self) -> None:
        side = int(self.rng.choice([-1, 1]))  # the scanner's
        spots = self.rng.uniform([[0.05, -0.15], [0.05, -0.2]], [[0.25, -0.05], [0.25, 0.0]]) * [[side, 1], [-side, 1]]
        ahead, across = np.pi / 2 + self.rng.uniform(-1.2, 1.2), self.rng.uniform(-1.2, 1.2)
        self.scanner = scanner(self.scene, self.scene.on_table(spots[0], ahead))
        self.object = carton(self.scene, self.scene.on_table(spots[1], across))
        self.scanning, self.holding = kin.ARMS[::-side]
        self.side = side
        for spot in spots:
            self.scene.keep_clear(spot, 0.12)

    def slots(self) -> dict[str, str]:
        arms = {"scanning": self.scanning, "holding": self.holding}
        return {"object": "carton", "colour": self.object.colour, "tool": self.scanner.colour, **arms}

    def check_success(self) -> bool:
        """RoboTwin's predicate: the window is close to the object and its beam meets it, both grippers closed.

        And both are in the air, each in its gripper, the scanner before an end of the carton.
        """
        window, beam = self.scanner.point("window"), self.scanner.rotation[:, 0]
        way = self.object.point("grip") - window
        along = float(way @ beam)
        aimed = 0.0 < along < NEAR and np.all(np.abs(way - along * beam) < ASIDE)
        closed = all(self.scene.arms[arm].gripper < CLOSED_COMMAND for arm in kin.ARMS)
        return bool(
            aimed
            and closed
            and abs(beam @ self.object.rotation[:, 0]) > FACING
            and self._in_hand(self.scanning, self.scanner)
            and self._in_hand(self.holding, self.object)
        )

    def _in_hand(self, arm: str, body: Body) -> bool:
        """Whether an arm holds a body off the table."""
        touched = self.scene.touching(f"{arm}_finger*", body.name)
        return bool(touched and not self.scene.touching(body.name, "table"))

    def expert(self) -> Commands:
        place = PLACE * [-self.side, 1, 1] + self.scene.table_top * UP
        yaw = 0.0 if self.object.rotation[0, 0] > 0 else np.pi  # it has a bar code on both ends
        beam = np.pi if self.side > 0 else 0.0  # rad, yaw of the scanner, towards the carton
        side = np.array([self.side, 0.0, 0.0])
        aligned = self.scanner.rotation[0, 0] * -self.side > 0.98
        ready = aligned and np.linalg.norm(self.object.point("grip") - place) < 0.02
        ends = self.object.points["right"] + self.scanner.points["window"] - self.scanner.points["grip"]
        away = ends[0] + (GAP if ready else WAIT)  # from the carton's middle to the hand with the scanner
        return {
            self.holding: self._bring(self.holding, self.object, place, yaw),
            self.scanning: self._bring(self.scanning, self.scanner, place + side * away, beam),
        }

    def _bring(self, arm: str, body: Body, goal: np.ndarray, yaw: float) -> Command:
        """An arm takes its thing and brings it to a goal in the air, turned to `yaw` (rad)."""
        grip = self.skills.turning_grasp(arm, body, goal, yaw)
        if not self.skills.holds(arm, grip):
            return self.skills.grasp_actor(arm, grip)
        rotation = self.skills.rotation_to_face(arm, body, yaw)
        return self.skills.lift_to(arm, grip.point, goal, rotation)

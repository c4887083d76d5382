"""Scan the carton with the hand scanner.

Asked: one arm holds the carton up in the middle, the other points the scanner's window at a bar code on its end.
Varies: looks, position and yaw of scanner and carton, which of them is on the left; the instruction.
Done: the window is close to the carton and its beam meets it along the carton's length, both are in the air, each
touched by the fingers of its arm, and both grippers are closed.

Source: RoboTwin 2.0, envs/scan_object.py. That both must be in the air, the scanner before an end, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.handheld import carton, scanner
from envs.tabletop.scene import Body
from envs.tabletop.skills import ARM_AT
from envs.tabletop.task import Command, Commands, Task

LOW, HIGH = ((0.05, -0.15), (0.05, -0.2)), ((0.25, -0.05), (0.25, 0.0))  # m, corners of scanner's and carton's areas
SCANNER_YAW, MAX_TURN = np.pi / 2, 1.2  # rad: the scanner points along y, the carton lies along x, about so far
CLEARANCE = 0.12  # m, half width of the squares without clutter about both
NEAR, ASIDE = 0.07, 0.025  # m, RoboTwin's: from the window to the carton along the beam, and across it
ALONG = 0.9  # cosine between the beam and the carton's length
HELD_AT = np.array([0.06, -0.1, 0.15])  # m, where the carton is held: by the right arm, above the table
AT_HELD, ALIGNED = 0.02, 0.98  # m, cosine: the carton is there, the scanner points at it
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
        self.side = side = self.random_side()  # the scanner's
        spots = self.rng.uniform(LOW, HIGH) * [[side, 1], [-side, 1]]
        scanner_yaw, carton_yaw = SCANNER_YAW + self.random_yaw(MAX_TURN), self.random_yaw(MAX_TURN)
        self.scanner = scanner(self.scene, self.scene.on_table(spots[0], scanner_yaw))
        self.object = carton(self.scene, self.scene.on_table(spots[1], carton_yaw))
        self.scanning, self.holding = ARM_AT[side], ARM_AT[-side]
        for spot in spots:
            self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        arms = {"scanning": self.scanning, "holding": self.holding}
        return {"object": "carton", "colour": self.object.colour, "tool": self.scanner.colour, **arms}

    def check_success(self) -> bool:
        window, beam = self.scanner.point("window"), self.scanner.rotation[:, 0]
        offset = self.object.point("grip") - window
        distance = float(offset @ beam)
        return bool(
            0.0 < distance < NEAR
            and np.all(np.abs(offset - distance * beam) < ASIDE)
            and abs(beam @ self.object.rotation[:, 0]) > ALONG
            and self._in_hand(self.scanning, self.scanner)
            and self._in_hand(self.holding, self.object)
        )

    def _in_hand(self, arm: str, body: Body) -> bool:
        """Whether an arm's gripper is closed on a body, off the table."""
        off_table = not self.scene.touching(body.name, "table")
        return self.skills.is_gripping(arm) and self.skills.touches(arm, body) and off_table

    def expert(self) -> Commands:
        held_at = self.skills.mirrored(self.holding, HELD_AT)
        carton_yaw = 0.0 if self.object.rotation[0, 0] > 0 else np.pi  # it has a bar code on both ends
        scanner_yaw = np.pi if self.side > 0 else 0.0  # towards the carton
        aligned = self.scanner.rotation[0, 0] * -self.side > ALIGNED
        ready = aligned and np.linalg.norm(self.object.point("grip") - held_at) < AT_HELD
        lengths = self.object.points["right"] + self.scanner.points["window"] - self.scanner.points["grip"]
        distance = lengths[0] + (GAP if ready else WAIT)  # from the carton's middle to the scanner's grasp point
        scan_at = held_at + np.array([self.side, 0.0, 0.0]) * distance
        return {
            self.holding: self._lift(self.holding, self.object, held_at, carton_yaw),
            self.scanning: self._lift(self.scanning, self.scanner, scan_at, scanner_yaw),
        }

    def _lift(self, arm: str, body: Body, goal: np.ndarray, yaw: float) -> Command:
        """An arm grasps a body and brings it to a goal in the air (m, scene), turned to `yaw` (rad)."""
        grasp = self.skills.turning_grasp(arm, body, goal, yaw)
        if not self.skills.holds(arm, grasp):
            return self.skills.grasp_actor(arm, grasp)
        return self.skills.lift_to(arm, grasp.point, goal, self.skills.rotation_to_face(arm, body, yaw))

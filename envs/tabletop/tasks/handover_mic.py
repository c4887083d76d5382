"""Hand the microphone over from one arm to the other, in the air.

Asked: the arm on the microphone's side, the giver, picks it up and brings it to the middle; the other arm, the taker,
grasps it there and the giver opens.
Varies: looks, side, position and yaw of the microphone, whose head points to the taker; the instruction.
Done: the microphone's head is raised on the taker's side, the taker's gripper is closed and touches it, the giver's is
open and does not.

Source: RoboTwin 2.0, envs/handover_mic.py.
"""

from __future__ import annotations

import numpy as np

from envs.constants import other_arm
from envs.tabletop.objects.handheld import microphone
from envs.tabletop.rotations import yawed
from envs.tabletop.skills import ARM_AT, OPEN, UP, Command
from envs.tabletop.task import Commands, Task

MIC_AREA, MAX_TURN = ((0.15, -0.05), (0.2, 0.0)), 0.3  # m, on either side; rad, from the direction to the taker
MIC_CLEARANCE, MIDDLE_CLEARANCE = 0.13, 0.1  # m, half widths of the squares without clutter
MIDDLE_XY = (0.0, -0.08)  # m, of the second square
LIFTED = 0.18  # m above the table: RoboTwin's 0.92 m above the floor
HANDOVER = np.array([0.0, -0.1, 0.175])  # m, the microphone's origin, above the table
AT_HANDOVER = 0.012  # m
PREGRASP = 0.1  # m, from the neck: where the taker waits
BEYOND = np.array([0.06, 0.0, 0.0])  # m, from the handover to where the taker brings it, towards the right
PITCH = 1.5  # rad below the horizon, of both tools


class HandoverMic(Task):
    step_limit = 600
    instructions = (
        "hand the microphone over from the {giver} arm to the {taker} arm",
        "pick up the microphone with the {giver} arm and pass it to the {taker} arm",
        "use both arms to hand over the {colour} microphone",
        "take the microphone, lift it and give it to the other arm",
        "grab the {colour} microphone with the {giver} gripper and let the {taker} gripper take over",
        "pass the microphone from hand to hand in the air",
        "the {giver} arm lifts the microphone, the {taker} arm receives it",
        "transfer the {colour} microphone to the {taker} arm",
        "lift the microphone and change hands",
        "bring the microphone to the middle and hand it to the {taker} arm",
    )
    unseen_instructions = (
        "let the {taker} hand end up with the microphone",
        "swap the {colour} mic between the grippers in mid-air",
        "the mic goes from the {giver} hand to the {taker} hand",
        "give the {taker} arm the mic that lies on the table",
        "reach the {colour} mic across to the other hand",
    )

    def load_actors(self) -> None:
        side = self.random_side()
        spot = self.random_xy(MIC_AREA, side)
        self.yaw = np.pi if side > 0 else 0.0
        self.mic = microphone(self.scene, self.scene.on_table(spot, self.yaw + self.random_yaw(MAX_TURN)))
        self.giver = ARM_AT[side]
        self.taker = other_arm(self.giver)
        self.direction = -side  # from giver to taker, along x
        self.scene.keep_clear(spot, MIC_CLEARANCE)
        self.scene.keep_clear(np.array(MIDDLE_XY), MIDDLE_CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"giver": self.giver, "taker": self.taker, "colour": self.mic.colour}

    def check_success(self) -> bool:
        head = self.mic.point("head")
        passed = head[0] * self.direction > 0 and head[2] > self.scene.table_top + LIFTED
        taken = self.skills.is_gripping(self.taker) and self.skills.touches(self.taker, self.mic)
        given = self.skills.is_open(self.giver) and not self.skills.touches(self.giver, self.mic)
        return bool(passed and taken and given)

    def expert(self) -> Commands:
        skills, points = self.skills, {self.giver: "tail", self.taker: "neck"}
        grasps = {arm: skills.long_grasp(arm, self.mic, PITCH, point) for arm, point in points.items()}
        held = {arm: skills.holds(arm, grasp) for arm, grasp in grasps.items()}
        handover = HANDOVER + self.scene.table_top * UP
        if held[self.taker] and held[self.giver]:
            return {self.giver: skills.open_gripper(self.giver), self.taker: skills.close_gripper(self.taker)}
        if held[self.taker]:
            goal = handover + self.direction * BEYOND
            return {self.giver: skills.retreat(self.giver, self.mic), self.taker: self._lift(self.taker, goal)}
        if held[self.giver]:
            at_handover = np.linalg.norm(self.mic.position - handover) < AT_HANDOVER
            grasp = grasps[self.taker]
            neck = handover + self.mic.points["neck"] * [self.direction, 0, 1]
            wait = Command(neck - PREGRASP * grasp.rotation[:, 0], grasp.rotation, OPEN)
            return {
                self.giver: self._lift(self.giver, handover),
                self.taker: skills.grasp_actor(self.taker, grasp) if at_handover else wait,
            }
        return {self.giver: skills.grasp_actor(self.giver, grasps[self.giver])}

    def _lift(self, arm: str, goal: np.ndarray) -> Command:
        """An arm brings the microphone it holds to a goal in the air (m, scene), along x."""
        rotation = self.skills.rotation_to_orient(arm, self.mic, yawed(self.yaw, np.eye(3)))
        return self.skills.lift_to(arm, self.mic.position, goal, rotation)

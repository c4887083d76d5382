"""RoboTwin's handover_mic: one arm picks the microphone up and hands it to the other arm in the air."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import microphone
from envs.tabletop.rotations import yawed
from envs.tabletop.skills import CLOSED, OPEN, UP, Command
from envs.tabletop.task import Commands, Task

HEIGHT = 0.18  # m above the table, RoboTwin's 0.92 m
CLOSED_COMMAND = 0.5
RIGHT = np.array([1.0, 0.0, 0.0])
MIDDLE = np.array([0.0, -0.1, 0.175])  # m, the microphone at the hand-over, above the table
PREGRASP, ASIDE = 0.1, 0.06  # m
PITCH = 1.5  # rad below the horizon


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
        side = int(self.rng.choice([-1, 1]))
        spot = self.rng.uniform([0.15, -0.05], [0.2, 0.0]) * [side, 1]
        self.yaw = np.pi if side > 0 else 0.0  # its head points to the table's middle, and to the arm that takes it
        yaw = self.yaw + self.rng.uniform(-0.3, 0.3)
        self.mic = microphone(self.scene, self.scene.on_table(spot, yaw))
        self.taker, self.giver = kin.ARMS[::side]
        self.way = -side  # from giver to taker along x
        self.scene.keep_clear(spot, 0.13)
        self.scene.keep_clear(np.array([0.0, -0.08]), 0.1)

    def slots(self) -> dict[str, str]:
        return {"giver": self.giver, "taker": self.taker, "colour": self.mic.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate: the head is up on the taker's side, the taker closed, the giver open and off it."""
        head = self.mic.point("head")
        passed = head[0] * self.way > 0 and head[2] > self.scene.table_top + HEIGHT
        taken = self.scene.arms[self.taker].gripper < CLOSED_COMMAND
        touched = {arm: bool(self.scene.touching(f"{arm}_finger*", self.mic.name)) for arm in kin.ARMS}
        let_go = self.skills.is_open(self.giver) and not touched[self.giver]
        return bool(passed and taken and touched[self.taker] and let_go)

    def expert(self) -> Commands:
        skills, points = self.skills, {self.giver: "tail", self.taker: "neck"}
        grips = {arm: skills.long_grasp(arm, self.mic, PITCH, point) for arm, point in points.items()}
        held = {arm: skills.holds(arm, grip) for arm, grip in grips.items()}
        middle = MIDDLE + self.scene.table_top * UP
        taker, giver = skills.tool(self.taker), skills.tool(self.giver)
        if held[self.taker] and held[self.giver]:  # the giver lets go
            return {
                self.giver: Command(giver.position, giver.rotation, OPEN),
                self.taker: Command(taker.position, taker.rotation, CLOSED),
            }
        if held[self.taker]:
            rotation = skills.rotation_to_orient(self.taker, self.mic, yawed(self.yaw, np.eye(3)))
            aside = middle + self.way * ASIDE * RIGHT
            return {
                self.giver: skills.retreat(self.giver, self.mic),
                self.taker: skills.lift_to(self.taker, self.mic.position, aside, rotation),
            }
        if held[self.giver]:
            rotation = skills.rotation_to_orient(self.giver, self.mic, yawed(self.yaw, np.eye(3)))
            there = np.linalg.norm(self.mic.position - middle) < 0.012
            grip = grips[self.taker]
            neck = middle + self.mic.points["neck"] * [self.way, 0, 1]
            wait = Command(neck - PREGRASP * grip.rotation[:, 0], grip.rotation, OPEN)
            return {
                self.giver: skills.lift_to(self.giver, self.mic.position, middle, rotation),
                self.taker: skills.grasp_actor(self.taker, grip) if there else wait,
            }
        home = skills.back_to_origin(self.taker)
        return {self.giver: skills.grasp_actor(self.giver, grips[self.giver]), self.taker: home}

"""RoboTwin's dump_bin_bigbin: tip the litter of a small bin into the dustbin at the left of the table."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.dustbin import in_dustbin, load_dustbin
from envs.tabletop.objects.containers import bin
from envs.tabletop.objects.parts import Parts, draw
from envs.tabletop.scene import Body, Colour, upright
from envs.tabletop.skills import CLOSED, SLOW, UP, Command
from envs.tabletop.task import Commands, Task

PIECES, RADIUS = 5, (0.008, 0.0095)  # of litter; m
LITTER: tuple[Colour, ...] = ((0.95, 0.95, 0.92), (0.9, 0.2, 0.15), (0.95, 0.8, 0.3), (0.4, 0.65, 0.9))
LIFTED = 0.26  # m above the table, RoboTwin's
MIDDLE = np.array([-0.04, -0.12])  # m, where the right arm leaves the bin for the left one
OVER = np.array([-0.05, 0.04, 0.29])  # m: the tool when it tips, from the dustbin's middle and the table's height
DOWN, CARRIED, TIPPED = np.pi / 2, 1.0, -0.55  # rad below the horizon


class DumpBinBigbin(Task):
    step_limit = 600
    instructions = (
        "empty the small bin into the dustbin",
        "dump the litter of the {colour} bin into the {big} dustbin",
        "pick up the small bin and tip it out over the big bin",
        "pour the rubbish from the little bin into the large one",
        "take the {colour} bin, lift it over the dustbin and turn it over",
        "use {arms} to empty the small bin into the big one",
        "lift the table bin by its rim and dump it out into the dustbin on the left",
        "tip the contents of the small bin into the bin beside the table",
        "get the litter out of the {colour} bin and into the dustbin",
        "raise the small bin and let its contents fall into the big bin",
    )
    unseen_instructions = (
        "the litter belongs in the large dustbin",
        "nothing should be left in the {colour} bin",
        "take the trash out: little bin into big bin",
        "with {arms}, turn the small bin upside down over the dustbin",
        "move all the rubbish to the {big} bin at the table's left edge",
    )

    def load_actors(self) -> None:
        self.dustbin = load_dustbin(self.scene)
        spot = self.rng.uniform([-0.2, -0.2], [0.2, -0.05])
        while abs(spot[0]) < 0.05:
            spot = self.rng.uniform([-0.2, -0.2], [0.2, -0.05])
        self.bin = bin(self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi, np.pi)))
        self.first = self.skills.near_arm(self.bin)
        self.scene.keep_clear(spot, 0.12)
        self.scene.keep_clear(MIDDLE, 0.12)
        self.litter: list[Body] = []
        for i in range(PIECES):
            at = [*(spot + self.rng.uniform(-0.012, 0.012, 2)), self.scene.table_top + 0.025 + 0.018 * i]
            parts = Parts(self.scene, density=30)
            parts.sphere(draw(self.scene, RADIUS), [0, 0, 0], draw(self.scene, LITTER))
            self.litter.append(parts.build(f"litter{i}", upright(at)))

    def slots(self) -> dict[str, str]:
        arms = "both arms" if self.first == "right" else "the left arm"
        return {"colour": self.bin.colour, "big": self.dustbin.colour, "arms": arms}

    def check_success(self) -> bool:
        """RoboTwin's predicate: the small bin is held up, all litter is in the dustbin; and it has begun to land."""
        lifted = self.bin.position[2] > self.scene.table_top + LIFTED
        landed = self.scene.touching("litter*", self.dustbin.name)
        return bool(lifted and landed and all(in_dustbin(self.dustbin, piece) for piece in self.litter))

    def expert(self) -> Commands:
        skills = self.skills
        commands = {arm: skills.back_to_origin(arm) for arm in kin.ARMS}
        held = {arm: self._holds(arm) for arm in kin.ARMS}
        if held["right"] and not held["left"]:
            goal = np.array([*MIDDLE, self.scene.table_top + 0.003])
            commands["right"] = skills.place_actor(
                "right", self.bin, goal, skills.reach_rotation("right", goal, DOWN), hover=0.06
            )
        elif held["left"]:
            commands["left"] = self._tip()
        elif self.bin.position[0] > 0.01:
            commands["right"] = skills.grasp_actor("right", skills.rim_grasp("right", self.bin))
        elif skills.out_of_the_way("right"):
            commands["left"] = skills.grasp_actor("left", skills.rim_grasp("left", self.bin))
        return commands

    def _holds(self, arm: str) -> bool:
        """Whether an arm holds the bin by its rim, at any tilt."""
        tool = self.skills.tool(arm)
        local = self.bin.rotation.T @ (tool.position - self.bin.position)
        x, _, z = self.bin.points["rim"]
        on_rim = abs(np.linalg.norm(local[:2]) - x) < 0.015 and abs(local[2] - z) < 0.02
        return bool(on_rim and self.skills.pinches(arm, tool.position, self.bin.width))

    def _tip(self) -> Command:
        """The left arm raises the bin, carries it over the dustbin and turns it over there."""
        tool = self.skills.tool("left")
        over = np.array([*self.dustbin.position[:2], self.scene.table_top]) + OVER
        away = np.linalg.norm((tool.position - over)[:2])
        turn = self.skills.reach_rotation("left", over, TIPPED if away < 0.03 else CARRIED)
        if away > 0.1 and tool.position[2] < over[2] - 0.05:
            return Command(tool.position + 0.05 * UP, tool.rotation, CLOSED, SLOW)
        return Command(over, turn, CLOSED, SLOW)

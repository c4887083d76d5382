"""Empty a small bin into the dustbin at the left of the table.

Asked: the left arm lifts the small bin by its rim and tips it out over the dustbin; a bin on the right is first brought
to the middle by the right arm.
Varies: looks of both bins, position and yaw of the small one, size and colour of the five balls of litter; the
instruction.
Done: the small bin is held up, all litter is inside the dustbin and some of it has landed.

Source: RoboTwin 2.0, envs/dump_bin_bigbin.py. That some litter must have landed is ours.
"""

from __future__ import annotations

import numpy as np

from envs.constants import ARMS
from envs.tabletop.dustbin import in_dustbin, load_dustbin
from envs.tabletop.objects.containers import bin
from envs.tabletop.objects.parts import Parts, draw
from envs.tabletop.scene import Body, Colour, upright
from envs.tabletop.skills import CLOSED, RAISE, SLOW, UP, Command
from envs.tabletop.task import Commands, Task

BIN_AREA, MIN_X = ((-0.2, -0.2), (0.2, -0.05)), 0.05  # m; from the middle line
CLEARANCE = 0.12  # m, half width of the squares without clutter about the bin and the middle
PIECES, RADII, LITTER_DENSITY = 5, (0.008, 0.0095), 30  # of litter; m; kg/m3
LITTER_COLOURS: tuple[Colour, ...] = ((0.95, 0.95, 0.92), (0.9, 0.2, 0.15), (0.95, 0.8, 0.3), (0.4, 0.65, 0.9))
LITTER_SPREAD, LITTER_BOTTOM, LITTER_STEP = 0.012, 0.025, 0.018  # m: about the bin's middle, heights above the table
LIFTED = 0.26  # m above the table, RoboTwin's
MIDDLE = np.array([-0.04, -0.12])  # m, where the right arm leaves the bin for the left one
PAST_MIDDLE = 0.01  # m: beyond it only the right arm reaches the bin
OVER = np.array([-0.05, 0.04, 0.29])  # m: the tool when it tips, from the dustbin's middle and the table's height
ABOVE, AT_DUSTBIN, BELOW_OVER = 0.03, 0.1, 0.05  # m: the tool tips; it is near the dustbin; it must rise first
DOWN, CARRIED, TIPPED = np.pi / 2, 1.0, -0.55  # rad below the horizon, pitch of the tool


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
        spot = self.random_xy(BIN_AREA)
        while abs(spot[0]) < MIN_X:
            spot = self.random_xy(BIN_AREA)
        self.bin = bin(self.scene, self.scene.on_table(spot, self.random_yaw()))
        self.first = self.skills.near_arm(self.bin)
        self.scene.keep_clear(spot, CLEARANCE)
        self.scene.keep_clear(MIDDLE, CLEARANCE)
        self.litter: list[Body] = []
        for i in range(PIECES):
            xy = spot + self.rng.uniform(-LITTER_SPREAD, LITTER_SPREAD, 2)
            parts = Parts(self.scene, density=LITTER_DENSITY)
            parts.sphere(draw(self.scene, RADII), [0, 0, 0], draw(self.scene, LITTER_COLOURS))
            height = self.scene.table_top + LITTER_BOTTOM + LITTER_STEP * i
            self.litter.append(parts.build(f"litter{i}", upright([*xy, height])))

    def slots(self) -> dict[str, str]:
        arms = "both arms" if self.first == "right" else "the left arm"
        return {"colour": self.bin.colour, "big": self.dustbin.colour, "arms": arms}

    def check_success(self) -> bool:
        lifted = self.bin.position[2] > self.scene.table_top + LIFTED
        landed = self.scene.touching("litter*", self.dustbin.name)
        return bool(lifted and landed and all(in_dustbin(self.dustbin, piece) for piece in self.litter))

    def expert(self) -> Commands:
        skills = self.skills
        held = {arm: self._holds(arm) for arm in ARMS}
        if held["right"] and not held["left"]:
            goal = np.array([*MIDDLE, self.scene.table_top + 0.003])
            rotation = skills.reach_rotation("right", goal, DOWN)
            return {"right": skills.place_actor("right", self.bin, goal, rotation, hover=0.06)}
        if held["left"]:
            return {"left": self._tip()}
        if self.bin.position[0] > PAST_MIDDLE:
            return {"right": skills.grasp_actor("right", skills.rim_grasp("right", self.bin))}
        if skills.out_of_the_way("right"):
            return {"left": skills.grasp_actor("left", skills.rim_grasp("left", self.bin))}
        return {}

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
        distance = np.linalg.norm((tool.position - over)[:2])
        if distance > AT_DUSTBIN and tool.position[2] < over[2] - BELOW_OVER:
            return self.skills.move_by_displacement("left", RAISE * UP, speed=SLOW)
        pitch = TIPPED if distance < ABOVE else CARRIED
        return Command(over, self.skills.reach_rotation("left", over, pitch), CLOSED, SLOW)

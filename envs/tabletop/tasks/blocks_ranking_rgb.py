"""Put a red, a green and a blue block in a row, in this order from left to right.

Asked: bring the three blocks next to each other, sorted by colour.
Varies: the blocks' side, position and yaw of each block; the instruction.
Done: the blocks are on the table, in order along x, neighbours within 13 cm along x and 3 cm along y, both grippers are
open and no finger touches a block.

Source: RoboTwin 2.0, envs/blocks_ranking_rgb.py. That no finger may touch a block is ours.
"""

from __future__ import annotations

from envs.tabletop.blocks import COLOURS, load_row, ranked, row_expert
from envs.tabletop.task import Commands, Task

HALF_SIDE = (0.015, 0.025)  # m, range


class BlocksRankingRgb(Task):
    step_limit = 1200
    instructions = (
        "arrange the blocks in a row: red, green, blue from left to right",
        "put the red block on the left, the green one in the middle and the blue one on the right",
        "line up the three blocks in the order red, green, blue",
        "sort the blocks by colour from left to right: red, then green, then blue",
        "make a row of blocks with red at the left end and blue at the right end",
        "place the green block between the red one on its left and the blue one on its right",
        "order the coloured blocks as red, green and blue",
        "set the blocks side by side, red first, green second, blue third",
        "bring the blocks next to each other so that they read red, green, blue",
        "form a line of blocks, from the left red, green and blue",
    )
    unseen_instructions = (
        "from left to right I want to see red, green, blue",
        "the cubes should spell RGB in a row",
        "rank the cubes by colour with red leftmost and blue rightmost",
        "green belongs in the middle, red to its left, blue to its right",
        "tidy the three cubes into a red, green, blue line",
    )

    def load_actors(self) -> None:
        self.sides = [2 * self.rng.uniform(*HALF_SIDE)] * 3
        colours = {f"{name}_block": colour for name, colour in COLOURS.items()}
        self.blocks, self.goals = load_row(self.scene, self.sides, colours)

    def check_success(self) -> bool:
        return ranked(self.scene, self.skills, self.blocks)

    def expert(self) -> Commands:
        """Each block with the arm on its side, to its place in a row whose position is drawn with the scene."""
        return row_expert(self.skills, self.blocks, self.sides, self.goals)

"""RoboTwin's blocks_ranking_rgb: red, green and blue in a row from left to right."""

from __future__ import annotations

from envs.tabletop.blocks import COLOURS, load_row, ranked, row_expert
from envs.tabletop.task import Commands, Task


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
        self.sides = [2 * self.rng.uniform(0.015, 0.025)] * 3
        looks = {f"{name}_block": colour for name, colour in COLOURS.items()}
        self.blocks, self.goals = load_row(self.scene, self.sides, looks)

    def check_success(self) -> bool:
        return ranked(self.scene, self.skills, self.blocks)

    def expert(self) -> Commands:
        return row_expert(self.skills, self.blocks, self.sides, self.goals)

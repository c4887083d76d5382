"""Put three blocks in a row, the large one on the left, the small one on the right.

Asked: bring the three blocks next to each other, sorted by size.
Varies: size and colour, position and yaw of each block; the instruction.
Done: the blocks are on the table, in order along x, neighbours within 13 cm along x and 3 cm along y, both grippers are
open and no finger touches a block.

Source: RoboTwin 2.0, envs/blocks_ranking_size.py. That no finger may touch a block is ours.
"""

from __future__ import annotations

from envs.tabletop.blocks import load_row, ranked, row_expert
from envs.tabletop.scene import Colour
from envs.tabletop.task import Commands, Task

SIDES = {"large": (0.06, 0.066), "medium": (0.048, 0.054), "small": (0.036, 0.042)}  # m, ranges


class BlocksRankingSize(Task):
    step_limit = 1200
    instructions = (
        "arrange the blocks from large to small, left to right",
        "put the largest block on the left, the medium one in the middle and the smallest on the right",
        "line up the three blocks by size, the biggest at the left end",
        "sort the blocks by size from left to right",
        "make a row of blocks that get smaller towards the right",
        "order the blocks: large, medium, small",
        "place the medium block between the large one on its left and the small one on its right",
        "rank the blocks by size in a row, largest first",
        "set the blocks side by side so that their size falls from left to right",
        "form a line with the big block left, the middle-sized one next and the little one right",
    )
    unseen_instructions = (
        "from left to right the cubes should shrink",
        "biggest cube leftmost, smallest cube rightmost",
        "give me a row of cubes in descending size",
        "the small cube ends the row on the right and the large one starts it on the left",
        "tidy the cubes into a line by how big they are",
    )

    def load_actors(self) -> None:
        self.sides = [self.rng.uniform(*limits) for limits in SIDES.values()]
        colours: dict[str, Colour] = {}
        for size in SIDES:
            r, g, b = self.rng.uniform(0, 1, 3)
            colours[f"{size}_block"] = (float(r), float(g), float(b))
        self.blocks, self.goals = load_row(self.scene, self.sides, colours)

    def check_success(self) -> bool:
        return ranked(self.scene, self.skills, self.blocks)

    def expert(self) -> Commands:
        """Each block with the arm on its side, to its place in a row whose position is drawn with the scene."""
        return row_expert(self.skills, self.blocks, self.sides, self.goals)

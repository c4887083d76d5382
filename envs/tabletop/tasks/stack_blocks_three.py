"""RoboTwin's stack_blocks_three: red, then green, then blue, one on top of the other."""

from __future__ import annotations

import numpy as np

from envs.tabletop.blocks import BLOCK_SIDE, load_blocks, stack_expert, stacked
from envs.tabletop.task import Commands, Task


class StackBlocksThree(Task):
    name = "stack_blocks_three"
    step_limit = 1200
    instructions = (
        "stack the blue block on the green block and the green block on the red block",
        "build a tower with red at the bottom, green in the middle and blue on top",
        "put the red block in the middle, the green one on it and the blue one on top of both",
    )

    def load(self) -> None:
        self.blocks = load_blocks(self.world, ("red", "green", "blue"), clear=0.07)

    def success(self) -> bool:
        return stacked(self.world, self.skills, self.blocks)

    def expert(self) -> Commands:
        base = np.array([0.0, -0.13, self.world.table_top + BLOCK_SIDE / 2])
        return stack_expert(self.skills, self.blocks, base)

"""RoboTwin's stack_blocks_two: the green block goes on top of the red one."""

from __future__ import annotations

import numpy as np

from envs.tabletop.blocks import BLOCK_SIDE, load_blocks, stack_expert, stacked
from envs.tabletop.task import Commands, Task


class StackBlocksTwo(Task):
    name = "stack_blocks_two"
    step_limit = 800
    instructions = (
        "stack the green block on the red block",
        "put the red block in the middle and place the green block on top of it",
        "build a tower of two with red at the bottom and green on top",
    )

    def load(self) -> None:
        self.blocks = load_blocks(self.world, ("red", "green"), clear=0.07)

    def success(self) -> bool:
        return stacked(self.world, self.skills, self.blocks)

    def expert(self) -> Commands:
        base = np.array([0.0, -0.13, self.world.table_top + BLOCK_SIDE / 2])
        return stack_expert(self.skills, self.blocks, base)

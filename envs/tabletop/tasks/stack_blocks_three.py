"""Stack three blocks: red at the bottom, green in the middle, blue on top.

Asked: carry the red block to the middle of the table, then put the green and the blue block on top of it.
Varies: the blocks' side, position and yaw of each block; the instruction.
Done: each block rests on the one below, both grippers are open and no finger touches a block.

Source: RoboTwin 2.0, envs/stack_blocks_three.py. That no finger may touch a block is ours.
"""

from __future__ import annotations

from envs.tabletop.blocks import BLOCK_SIDE, load_blocks, stack_base, stack_expert, stacked
from envs.tabletop.objects.parts import draw
from envs.tabletop.task import Commands, Task

SIDES = (0.042, 0.046, BLOCK_SIDE)  # m


class StackBlocksThree(Task):
    step_limit = 1200
    instructions = (
        "stack the blue block on the green block and the green block on the red block",
        "build a tower with red at the bottom, green in the middle and blue on top",
        "put the red block in the middle, the green one on it and the blue one on top of both",
        "stack the three blocks in the order red, green, blue",
        "make a tower of three: red, then green, then blue",
        "place green on red and blue on green",
        "pile up the blocks with red lowest and blue highest",
        "move the red block to the middle, stack green on it, then blue",
        "set down the red block, lay the green block on it and finish with the blue block",
        "carry the blocks to the middle and stack them, red first, green second, blue last",
    )
    unseen_instructions = (
        "the red cube is the base, the green cube comes next and the blue cube is the top",
        "from bottom to top the tower should read red, green, blue",
        "stack all three so that blue ends up above green and green above red",
        "start a tower with red in the centre, continue with green and close it with blue",
        "green goes over red and blue goes over green",
    )

    def load_actors(self) -> None:
        self.side = draw(self.scene, SIDES)
        self.blocks = load_blocks(self.scene, ("red", "green", "blue"), self.side)

    def check_success(self) -> bool:
        return stacked(self.scene, self.skills, self.blocks, self.side)

    def expert(self) -> Commands:
        """Each block with the arm on its side."""
        return stack_expert(self.skills, self.blocks, stack_base(self.scene, self.side), self.side)

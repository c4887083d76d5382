"""Stack the green block on the red one.

Asked: carry the red block to the middle of the table, then put the green block on top of it.
Varies: position and yaw of both blocks; the instruction.
Done: the green block rests on the red one, both grippers are open and no finger touches either block. As in RoboTwin
the stack may be anywhere on the table.

Source: RoboTwin 2.0, envs/stack_blocks_two.py. That no finger may touch a block is ours.
"""

from __future__ import annotations

from envs.tabletop.blocks import BLOCK_SIDE, load_blocks, stack_base, stack_expert, stacked
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task, closeness


class StackBlocksTwo(Task):
    step_limit = 800
    instructions = (
        "stack the green block on the red block",
        "put the red block in the middle and place the green block on top of it",
        "build a tower of two with red at the bottom and green on top",
        "move the red block to the middle, then put the green one on it",
        "set the red block down in the middle of the table and stack the green block on it",
        "place green on top of red",
        "pile up the two blocks, the green one above the red one",
        "make a stack of the red and the green block with green at the top",
        "carry the red block to the middle and lay the green block on top",
        "take the red block first, then stack the green block onto it",
    )
    unseen_instructions = (
        "the green cube belongs on top of the red cube",
        "let the red block be the base and the green block the top of a small tower",
        "put one block on the other so that green ends up above red",
        "start with the red block in the centre and finish with the green one over it",
        "green goes over red: build it in the middle of the table",
    )

    def load_actors(self) -> None:
        self.red, self.green = load_blocks(self.scene, ("red", "green"))
        self.base = stack_base(self.scene)

    def check_success(self) -> bool:
        return stacked(self.scene, self.skills, [self.red, self.green])

    def progress(self) -> float:
        """Half for the red block in the middle, half for the green one above it."""
        in_middle = closeness(self.red.position - self.base)
        on_red = closeness(self.green.position - self.red.position - BLOCK_SIDE * UP)
        return (in_middle + on_red) / 2

    def expert(self) -> Commands:
        """Each block with the arm on its side."""
        return stack_expert(self.skills, [self.red, self.green], self.base)

"""Stack three bowls of equal size.

Asked: as in stack_bowls_two, with three bowls.
Varies: as in stack_bowls_two.
Done: as in stack_bowls_two.

Source: RoboTwin 2.0, envs/stack_bowls_three.py.
"""

from __future__ import annotations

from typing import ClassVar

from envs.tabletop.tasks.stack_bowls_two import StackBowlsTwo


class StackBowlsThree(StackBowlsTwo):
    step_limit = 1200
    number: ClassVar[int] = 3
    instructions = (
        "stack the three bowls",
        "put all three bowls into one another",
        "stack the {colours} bowls in the middle of the table",
        "move a bowl to the middle, then place the second and the third one in it",
        "nest the three bowls",
        "make one stack of the {colours} bowls",
        "pick the bowls up by their rims, one after the other, and stack them",
        "pile up all the bowls",
        "bring the three bowls to the middle and set them in each other",
        "use {arms} to stack the three bowls",
    )
    unseen_instructions = (
        "all three bowls should stand in one another",
        "tidy the {colours} bowls into a single stack",
        "no bowl should be left beside the stack",
        "turn the bowls into a tower of three with {arms}",
        "collect every bowl in a pile in the centre",
    )

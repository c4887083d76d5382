"""Put one object to the right of another.

Asked: the arm on the object's side picks it up and puts it down right of the target, in line with it.
Varies: as in place_a2b_left.
Done: as in place_a2b_left, on the other side of the target.

Source: RoboTwin 2.0, envs/place_a2b_right.py.
"""

from __future__ import annotations

from typing import ClassVar

from envs.tabletop.tasks.place_a2b_left import PlaceA2BLeft


class PlaceA2BRight(PlaceA2BLeft):
    instructions = (
        "put the {object} to the right of the {target}",
        "place the {colour} {object} on the right side of the {target}",
        "pick up the {object} with the {arm} arm and set it down right of the {target}",
        "move the {object} so that it lies right of the {target}",
        "lay the {object} beside the {target}, on its right",
        "take the {colour} {object} and put it right of the {target}",
        "set the {object} on the table to the right of the {target}",
        "use the {arm} arm to place the {object} on the right of the {target}",
        "bring the {object} next to the {target}, on the right-hand side",
        "carry the {object} to the place right of the {target}",
    )
    unseen_instructions = (
        "right of the {target} is where the {object} belongs",
        "the {target} should have the {colour} {object} on its right",
        "arrange the {object} and the {target} side by side, the {object} on the right",
        "with the {arm} hand, line the {object} up to the right of the {target}",
        "the {object} goes directly to the right of the {target}",
    )
    sign: ClassVar[int] = 1

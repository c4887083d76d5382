"""Move the box of playing cards away from the middle of the table.

Asked: the arm on the cards' side picks them up and puts them down further outside.
Varies: size and colour of the box, its side, position and yaw; the instruction.
Done: the cards rest on the table, more than 23 cm from the middle, both grippers are open and no finger touches them.

Source: RoboTwin 2.0, envs/move_playingcard_away.py. That they must rest there, untouched, is ours.
"""

from __future__ import annotations

import numpy as np

from envs.tabletop.objects.office import playing_cards
from envs.tabletop.placing import PlaceTask
from envs.tabletop.skills import SIGN
from envs.tabletop.task import Commands

CARDS_AREA = ((0.05, -0.2), (0.1, 0.05))  # m, on either side
NO_CLUTTER = (-0.6, -0.3, 0.6, 0.1)  # m (x0, y0, x1, y1), RoboTwin's
CLEARANCE = 0.12  # m, half width of the square without clutter
AWAY = 0.23  # m from the middle of the table, RoboTwin's
GOAL_X, MAX_GOAL_Y = 0.3, 0.0  # m, where the expert takes them
PITCH = 1.3  # rad below the horizon, of the tool


class MovePlayingcardAway(PlaceTask):
    step_limit = 400
    instructions = (
        "move the playing cards away",
        "pick up the {colour} box of cards and put it down on the {side}",
        "use the {arm} arm to move the playing cards aside",
        "take the playing cards out of the middle of the table",
        "grab the cards and carry them to the {side} side",
        "clear the {colour} pack of cards from the centre",
        "move the deck of cards outwards with the {arm} arm",
        "put the {colour} playing cards at the {side} edge of the table",
        "lift the card box and set it down further to the {side}",
        "shift the playing cards to the {side}, out of the way",
    )
    unseen_instructions = (
        "the cards should not lie in the middle any more",
        "make room by taking the {colour} card box away",
        "get the deck out of the way with the {arm} hand",
        "bring the pack of playing cards over to the {side}",
        "the {colour} cards belong on the {side} of the table",
    )

    def load_actors(self) -> None:
        spot = self.random_xy(CARDS_AREA) * [self.random_side(), 1]
        self.object = playing_cards(self.scene, self.scene.on_table(spot, self.random_yaw()))
        self.target = self.scene.bodies["table"]
        self.arm = self.skills.near_arm(self.object)
        self.scene.clear_areas.append(NO_CLUTTER)
        self.scene.keep_clear(spot, CLEARANCE)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "side": self.arm, "colour": self.object.colour}

    def at_target(self) -> bool:
        return bool(abs(self.object.position[0]) > AWAY)

    def expert(self) -> Commands:
        if self.placed():
            return {}
        grasp = self.skills.long_grasp(self.arm, self.object, PITCH)
        y = min(self.object.position[1], MAX_GOAL_Y)
        goal = np.array([SIGN[self.arm] * GOAL_X, y, self.scene.table_top])
        rotation = self.skills.tool(self.arm).rotation
        return {self.arm: self.skills.pick_and_place(self.arm, self.object, grasp, goal, rotation)}

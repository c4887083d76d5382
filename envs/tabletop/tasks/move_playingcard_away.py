"""RoboTwin's move_playingcard_away: take the box of playing cards out of the middle, to the arm's side."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.office import playing_cards
from envs.tabletop.task import Commands, Task

AWAY = 0.23  # m from the middle of the table, RoboTwin's
SHIFT = 0.3  # m, where the expert takes them
PITCH = 1.3  # rad below the horizon


class MovePlayingcardAway(Task):
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
        spot = self.rng.uniform([0.05, -0.2], [0.1, 0.05]) * [self.rng.choice([-1, 1]), 1]
        yaw = self.rng.uniform(-np.pi, np.pi)
        self.cards = playing_cards(self.scene, self.scene.on_table(spot, yaw))
        self.arm = self.skills.near_arm(self.cards)
        self.scene.clear_areas.append((-0.6, -0.3, 0.6, 0.1))  # RoboTwin's
        self.scene.keep_clear(spot, 0.12)

    def slots(self) -> dict[str, str]:
        return {"arm": self.arm, "side": self.arm, "colour": self.cards.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the cards are let go and rest on the table."""
        return self.placed() and self.skills.rests_on(self.cards, self.scene.bodies["table"])

    def placed(self) -> bool:
        """RoboTwin's predicate, and no finger touches the cards."""
        return bool(
            abs(self.cards.position[0]) > AWAY and self.skills.all_open() and not self.scene.fingers_on(self.cards.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        if self.placed():
            return commands
        grip = self.skills.long_grasp(self.arm, self.cards, PITCH)
        if self.skills.holds(self.arm, grip):
            x = SHIFT if self.arm == "right" else -SHIFT
            goal = np.array([x, min(self.cards.position[1], 0.0), self.scene.table_top])
            rotation = self.skills.tool(self.arm).rotation
            commands[self.arm] = self.skills.place_actor(self.arm, self.cards, goal, rotation)
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip)
        return commands

"""RoboTwin's place_burger_fries: put the hamburger and the French fries on the tray, one with each arm."""

from __future__ import annotations

import numpy as np

from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.objects.food import burger, fries, tray
from envs.tabletop.rotations import directed
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task

AT_PLACE = 0.08  # m, RoboTwin's
LOW = 0.03  # m above the tray


class PlaceBurgerFries(Task):
    step_limit = 500
    instructions = (
        "put the burger and the fries on the tray",
        "place the hamburger and the French fries on the {tray} tray",
        "use both arms to put burger and fries on the tray",
        "pick up the burger with the left arm and the fries with the right arm and set them on the tray",
        "serve the meal: burger and fries go onto the tray",
        "move the hamburger and the {fries} carton of fries onto the tray",
        "lay the burger on the left half of the tray and the fries on its right half",
        "load the {tray} tray with the burger and the fries",
        "carry burger and fries to the tray and let go of both",
        "grab the hamburger and the fries and place them side by side on the tray",
    )
    unseen_instructions = (
        "the tray should hold a burger and a carton of fries",
        "get the order ready on the {tray} tray",
        "both the fries and the hamburger belong on the tray",
        "with one arm each, bring the {fries} fries and the burger to the tray",
        "set up the fast food on the tray",
    )

    def load_actors(self) -> None:
        spots = [
            self.rng.uniform(low, high)
            for low, high in (([0, -0.15], [0, -0.1]), ([-0.3, -0.15], [-0.25, -0.07]), ([0.2, -0.15], [0.3, -0.07]))
        ]
        spots[2][0] = max(spots[2][0], 0.22)  # off our tray
        self.tray = tray(self.scene, self.scene.on_table(spots[0]))
        self.burger = burger(self.scene, self.scene.on_table(spots[1], self.rng.uniform(-np.pi, np.pi)))
        self.fries = fries(self.scene, self.scene.on_table(spots[2], np.pi / 2 + self.rng.uniform(-0.4, 0.4)))
        for spot, radius in zip(spots, (0.2, 0.11, 0.11), strict=True):
            self.scene.keep_clear(spot, radius)

    def slots(self) -> dict[str, str]:
        return {"tray": self.tray.colour, "fries": self.fries.colour}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and both stand on the tray, let go."""
        placed = all(
            np.linalg.norm((body.position - self.tray.point(half))[:2]) < AT_PLACE
            and body.rotation[2, 2] > 0.95
            and body.speed < REST_SPEED
            and self.scene.touching(body.name, self.tray.name)
            and not self.scene.fingers_on(body.name)
            for body, half in ((self.burger, "left"), (self.fries, "right"))
        )
        return bool(placed and self.skills.all_open())

    def expert(self) -> Commands:
        errands, down = [], np.pi / 2
        for arm, body, half in (("left", self.burger, "left"), ("right", self.fries, "right")):
            goal = self.tray.point(half)
            done = bool(np.linalg.norm((body.position - goal)[:2]) < 0.04 and abs(body.position[2] - goal[2]) < LOW)
            if body is self.burger:
                grip = self.skills.round_grasp(arm, body, down)
                rotation = self.skills.reach_rotation(arm, goal, down)
            else:
                grip, rotation = self.skills.long_grasp(arm, body), directed(-down, down)
            errands.append(PickPlace(arm, body, grip, goal + 0.003 * UP, rotation, done, hover=0.08))
        return place_in_turn(self.skills, errands)

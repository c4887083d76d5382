"""Put the hamburger and the French fries on the tray.

Asked: the left arm puts the hamburger on the left half of the tray, the right arm the fries on its right half.
Varies: looks and position of tray, hamburger and fries, the yaw of both foods; the instruction.
Done: both are upright and still on their halves of the tray, both grippers are open and no finger touches them.

Source: RoboTwin 2.0, envs/place_burger_fries.py. That they must be upright, still and untouched is ours.
"""

from __future__ import annotations

import numpy as np

from envs.contacts import REST_SPEED
from envs.tabletop.bimanual import PickPlace, place_in_turn
from envs.tabletop.objects.food import burger, fries, tray
from envs.tabletop.rotations import directed
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task

TRAY_AREA = ((0, -0.15), (0, -0.1))  # m
BURGER_AREA, FRIES_AREA = ((-0.3, -0.15), (-0.25, -0.07)), ((0.2, -0.15), (0.3, -0.07))  # m
MIN_FRIES_X = 0.22  # m: off our tray
FRIES_YAW, MAX_TURN = np.pi / 2, 0.4  # rad: the carton is wide along y, about so far
TRAY_CLEARANCE, FOOD_CLEARANCE = 0.2, 0.11  # m, half widths of the squares without clutter
AT_PLACE, UPRIGHT = 0.08, 0.95  # m, RoboTwin's; cosine
DONE, DONE_HEIGHT = 0.04, 0.03  # m: nearer to its goal the expert leaves a food alone
RELEASE_HEIGHT = 0.003  # m above the tray
DOWN = np.pi / 2  # rad below the horizon, of both tools


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
        spots = [self.random_xy(area) for area in (TRAY_AREA, BURGER_AREA, FRIES_AREA)]
        spots[2][0] = max(spots[2][0], MIN_FRIES_X)
        self.tray = tray(self.scene, self.scene.on_table(spots[0]))
        self.burger = burger(self.scene, self.scene.on_table(spots[1], self.random_yaw()))
        self.fries = fries(self.scene, self.scene.on_table(spots[2], FRIES_YAW + self.random_yaw(MAX_TURN)))
        for spot, clearance in zip(spots, (TRAY_CLEARANCE, FOOD_CLEARANCE, FOOD_CLEARANCE), strict=True):
            self.scene.keep_clear(spot, clearance)

    def slots(self) -> dict[str, str]:
        return {"tray": self.tray.colour, "fries": self.fries.colour}

    def check_success(self) -> bool:
        return self._placed(self.burger, "left") and self._placed(self.fries, "right")

    def _placed(self, body: Body, half: str) -> bool:
        """RoboTwin's predicate for one food; and it is upright and still on the tray, released."""
        return bool(
            np.linalg.norm((body.position - self.tray.point(half))[:2]) < AT_PLACE
            and body.rotation[2, 2] > UPRIGHT
            and body.speed < REST_SPEED
            and self.scene.touching(body.name, self.tray.name)
            and self.skills.released(body)
        )

    def expert(self) -> Commands:
        burger_rotation = self.skills.reach_rotation("left", self.tray.point("left"), DOWN)
        jobs = []
        for arm, body, grasp, rotation in (
            ("left", self.burger, self.skills.round_grasp("left", self.burger, DOWN), burger_rotation),
            ("right", self.fries, self.skills.long_grasp("right", self.fries), directed(-DOWN, DOWN)),
        ):
            goal = self.tray.point(arm)
            offset = body.position - goal
            done = bool(np.linalg.norm(offset[:2]) < DONE and abs(offset[2]) < DONE_HEIGHT)
            jobs.append(PickPlace(arm, body, grasp, goal + RELEASE_HEIGHT * UP, rotation, done, hover=0.08))
        return place_in_turn(self.skills, jobs)

"""RoboTwin's place_a2b_left: put one object to the left of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.objects.food import bread, burger, fries
from envs.tabletop.objects.office import stapler, tea_box, toy_car
from envs.tabletop.objects.tools import bell
from envs.tabletop.rotations import directed
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP
from envs.tabletop.task import Commands, Task

Make = Callable[..., Body]
OBJECTS: dict[str, Make] = {"stapler": stapler, "tea box": tea_box, "bread": bread, "toy car": toy_car}
TARGETS: dict[str, Make] = OBJECTS | {"bell": bell, "burger": burger, "carton of fries": fries}
NEAR, FAR, ABREAST = 0.08, 0.2, 0.05  # m, RoboTwin's: distance, and offset along y
GAP = 0.15  # m between the middles, where the expert puts it


class PlaceA2BLeft(Task):
    step_limit = 400
    instructions = (
        "put the {object} to the left of the {target}",
        "place the {colour} {object} on the left side of the {target}",
        "pick up the {object} with the {arm} arm and set it down left of the {target}",
        "move the {object} so that it lies left of the {target}",
        "lay the {object} beside the {target}, on its left",
        "take the {colour} {object} and put it left of the {target}",
        "set the {object} on the table to the left of the {target}",
        "use the {arm} arm to place the {object} on the left of the {target}",
        "bring the {object} next to the {target}, on the left-hand side",
        "carry the {object} to the place left of the {target}",
    )
    unseen_instructions = (
        "left of the {target} is where the {object} belongs",
        "the {target} should have the {colour} {object} on its left",
        "arrange the {object} and the {target} side by side, the {object} on the left",
        "with the {arm} hand, line the {object} up to the left of the {target}",
        "the {object} goes directly to the left of the {target}",
    )
    sign: ClassVar[int] = -1  # of the way from the target to the place beside it, along x

    def load_actors(self) -> None:
        while True:
            spot = self.rng.uniform([-0.22, -0.2], [0.22, 0.0])
            inner = self.sign * spot[0] > 0  # the target stands about the middle
            low, high = (-0.1, 0.1) if inner else (0.18, 0.23)
            x, y = self.rng.uniform(low, high), self.rng.uniform(-0.2, 0.0)
            target = np.array([x if inner else -self.sign * x, y])
            # RoboTwin's is not beside its target yet; ours always because of its y
            if np.linalg.norm(target - spot) > 0.13 and abs(target[1] - spot[1]) > 0.1 and abs(spot[0]) > 0.03:
                break
        self.kinds = [str(self.rng.choice(list(OBJECTS)))]
        self.kinds.append(str(self.rng.choice([kind for kind in TARGETS if kind != self.kinds[0]])))
        yaws = self.rng.uniform(-np.pi, np.pi, 2)
        self.object = OBJECTS[self.kinds[0]](self.scene, self.scene.on_table(spot, yaws[0]), name="object")
        self.target = TARGETS[self.kinds[1]](self.scene, self.scene.on_table(target, yaws[1]), name="target")
        self.arm = self.skills.near_arm(self.object)
        for place in (spot, target, self.goal):
            self.scene.keep_clear(place, 0.12)

    @property
    def goal(self) -> np.ndarray:
        """Where the object's origin belongs (m, scene)."""
        return np.array([self.target.position[0] + self.sign * GAP, self.target.position[1], self.scene.table_top])

    def slots(self) -> dict[str, str]:
        return {"object": self.kinds[0], "target": self.kinds[1], "colour": self.object.colour, "arm": self.arm}

    def beside(self) -> bool:
        """RoboTwin's predicate on the two places."""
        way = (self.object.position - self.target.position)[:2]
        return bool(NEAR < np.linalg.norm(way) < FAR and self.sign * way[0] > 0 and abs(way[1]) < ABREAST)

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the object stands on the table, let go."""
        return bool(
            self.beside()
            and self.skills.all_open()
            and self.object.rotation[2, 2] > 0.95
            and self.object.speed < REST_SPEED
            and abs(self.object.position[2] - self.scene.table_top) < 0.01
            and not self.scene.fingers_on(self.object.name)
        )

    def expert(self) -> Commands:
        skills = self.skills
        commands = {arm: skills.back_to_origin(arm) for arm in kin.ARMS}
        grip = skills.long_grasp(self.arm, self.object)
        if skills.holds(self.arm, grip):
            goal = self.goal + 0.003 * UP
            azimuth = np.copysign(np.pi / 2, goal[0] - self.scene.arms[self.arm].base.p[0])  # the object along x
            turn = directed(azimuth, np.pi / 2)
            commands[self.arm] = skills.place_actor(self.arm, self.object, goal, turn, twist=0.2, hover=0.1)
        elif not self.beside():
            commands[self.arm] = skills.grasp_actor(self.arm, grip)
        return commands

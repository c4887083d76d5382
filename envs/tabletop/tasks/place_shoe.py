"""RoboTwin's place_shoe: put the shoe on the mat, its toe to the left."""

from __future__ import annotations

import numpy as np

from envs.tabletop import kinematics as kin
from envs.tabletop.objects.handheld import shoe, shoe_mat
from envs.tabletop.rotations import angle_between, yawed
from envs.tabletop.scene import upright
from envs.tabletop.task import Commands, Task

ON_MAT, TURN = (0.05, 0.02, 0.01), 0.14  # m, rad: RoboTwin's
TOE_LEFT = np.pi  # rad, yaw


class PlaceShoe(Task):
    step_limit = 500
    instructions = (
        "place the shoe on the mat with its toe to the left",
        "pick up the {colour} shoe and put it on the {mat} mat",
        "use the {arm} arm to set the shoe on the mat, pointing left",
        "move the shoe onto the mat so that its tip points to the left",
        "grab the {colour} shoe with the {arm} arm and place it on the mat",
        "put the shoe on the {mat} mat, lengthwise, toe left",
        "take the shoe and set it down in the middle of the mat",
        "turn the shoe's toe to the left and stand it on the {mat} mat",
        "lift the {colour} shoe and lower it onto the mat",
        "carry the shoe to the mat and let it face left",
    )
    unseen_instructions = (
        "the {colour} shoe belongs on the {mat} mat, facing left",
        "with the {arm} hand, bring the shoe onto its mat",
        "tidy the shoe away on the mat with the tip to the left",
        "the shoe should stand on the mat and look left",
        "relocate the {colour} sneaker to the mat, its heel on the right",
    )

    def load_actors(self) -> None:
        goal, spot = np.array([0.0, -0.08]), np.zeros(2)
        while np.linalg.norm(spot) < 0.15:
            spot = self.rng.uniform([-0.25, -0.1], [0.25, 0.05])
        self.mat = shoe_mat(self.scene, upright([*goal, self.scene.table_top]))
        self.shoe = shoe(self.scene, self.scene.on_table(spot, self.rng.uniform(-np.pi, np.pi)))
        self.arm = self.skills.near_arm(self.shoe)
        self.scene.keep_clear(spot, 0.13)
        self.scene.keep_clear(goal, 0.18)

    def slots(self) -> dict[str, str]:
        return {"colour": self.shoe.colour, "mat": self.mat.colour, "arm": self.arm}

    def check_success(self) -> bool:
        """RoboTwin's predicate, and the shoe stands on the mat, let go."""
        offset = np.abs(self.shoe.position - self.mat.point("top"))
        return bool(
            np.all(offset < ON_MAT)
            and angle_between(self.shoe.rotation, yawed(TOE_LEFT, np.eye(3))) < TURN
            and self.skills.all_open()
            and self.skills.rests_on(self.shoe, self.mat)
            and not self.scene.fingers_on(self.shoe.name)
        )

    def expert(self) -> Commands:
        commands = {arm: self.skills.back_to_origin(arm) for arm in kin.ARMS}
        goal = self.mat.point("top")
        grip = self.skills.turning_grasp(self.arm, self.shoe, goal, TOE_LEFT)
        if self.skills.holds(self.arm, grip):
            rotation = self.skills.rotation_to_face(self.arm, self.shoe, TOE_LEFT)
            commands[self.arm] = self.skills.place_actor(self.arm, self.shoe, goal, rotation, twist=0.07)
        else:
            commands[self.arm] = self.skills.grasp_actor(self.arm, grip)
        return commands

"""The base of RoboTwin's tasks in which one arm picks up one object and puts it down at a target."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from envs.tabletop.objects.office import pad
from envs.tabletop.rotations import wrapped, yaw_of
from envs.tabletop.scene import Body
from envs.tabletop.skills import Commands, Grasp, lengthwise
from envs.tabletop.task import Area, Task


class PlaceTask(Task):
    """A task in which one arm places `object` on `target`, which may be the table.

    A subclass loads `object`, `target` and `arm`, states RoboTwin's predicate in `at_target` and acts in `expert`.
    """

    object: Body
    target: Body
    arm: str

    @abstractmethod
    def at_target(self) -> bool:
        """RoboTwin's predicate on the poses of object and target."""

    def placed(self) -> bool:
        """`at_target`, both grippers are open and no finger touches the object."""
        return self.at_target() and self.skills.released(self.object)

    def check_success(self) -> bool:
        """`placed`, and the object rests on the target."""
        return self.placed() and self.skills.rests_on(self.object, self.target)

    def load_with_pad(
        self,
        make: Callable[..., Body],
        pad_half: tuple[float, float],
        area: Area,
        distance: float,
        clearances: tuple[float, float],
    ) -> None:
        """Spawns the object at any yaw, and a pad as its target, on one side of the table.

        Args:
            make: the object's function.
            pad_half: half sizes of the pad (m) along x and y.
            area: of both, on the right half of the table; mirrored for the left one.
            distance: least one between the two (m).
            clearances: half widths (m) of the squares without clutter about object and pad.
        """
        side = self.random_side()
        spot = self.random_xy(area, side)
        self.object = make(self.scene, self.scene.on_table(spot, self.random_yaw()))
        goal = self.random_xy(area, side, away_from=spot, distance=distance)
        self.target = pad(self.scene, self.scene.on_table(goal), pad_half)
        self.arm = self.skills.near_arm(self.object)
        for place, clearance in zip((spot, goal), clearances, strict=True):
            self.scene.keep_clear(place, clearance)

    def place_on_top(self, grasp: Grasp, pitch: float) -> Commands:
        """The arm picks the object by a grasp and places it on the target's "top", its tool `pitch` (rad) down."""
        goal = self.target.point("top")
        rotation = self.skills.reach_rotation(self.arm, goal, pitch)
        return {self.arm: self.skills.pick_and_place(self.arm, self.object, grasp, goal, rotation)}

    def offset(self) -> np.ndarray:
        """Absolute offset [3] (m) of the object's origin from the target's point "top"."""
        return np.abs(self.object.position - self.target.point("top"))

    def misalignment(self, yaw: float) -> float:
        """Angle (rad) between the object's yaw and `yaw` or its opposite, whichever is nearer."""
        return abs(wrapped(lengthwise(self.object, yaw) - yaw_of(self.object.rotation)))

"""What task files ask of the scene: whether a gripper is open, a body held, pressed, released or at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.constants import ARMS, CLOSED_COMMAND, GRASP_COMMAND, OPEN_COMMAND
from envs.contacts import REST_SPEED
from envs.tabletop.robot import Tool
from envs.tabletop.scene import Articulated, Body, Tabletop

Array = NDArray[np.floating]

OPEN, CLOSED = 1.0, 0.0  # gripper commands
PINCHING_COMMAND = 0.7  # below this command a gripper may be closing on something
PRESS_OPENING = 0.35  # measured opening below which the fingers are together, to press or push
AT_HANDLE = 0.05  # m: the tool is at the point by which it opens a lid or door


@dataclass(frozen=True)
class Grasp:
    """How two fingers grasp a body: tool centre (m, scene), endpose rotation [3, 3], what they span (m).

    `opening` is the gripper's command on the way there; less than OPEN where open fingers would hit something.
    """

    point: Array
    rotation: Array
    width: float
    opening: float = OPEN


class Predicates:
    """The predicates, bound to one scene."""

    def __init__(self, scene: Tabletop) -> None:
        self.scene = scene

    def tool(self, arm: str) -> Tool:
        """Measured tool of an arm."""
        return self.scene.arms[arm].tool()

    def is_open(self, arm: str) -> bool:
        """RoboTwin's is_*_gripper_open: the command is above 0.8."""
        return self.scene.arms[arm].gripper > OPEN_COMMAND

    def all_open(self) -> bool:
        """Whether both grippers are open."""
        return all(self.is_open(arm) for arm in ARMS)

    def is_closed(self, arm: str) -> bool:
        """RoboTwin's is_*_gripper_close: the command is below 0.2."""
        return self.scene.arms[arm].gripper < CLOSED_COMMAND

    def is_gripping(self, arm: str) -> bool:
        """Whether an arm's gripper is closed at least half way, as around an object."""
        return self.scene.arms[arm].gripper < GRASP_COMMAND

    def near_arm(self, body: Body) -> str:
        """The arm on the body's side of the table: "left" where the body's x is below 0, else "right"."""
        return "left" if body.position[0] < 0 else "right"

    def pinches(self, arm: str, point: Array, width: float) -> bool:
        """Whether the fingers of a closing gripper are `width` (m) apart, about a world point."""
        tool = self.tool(arm)
        local = tool.rotation.T @ (point - tool.position)
        gap = 2 * (-0.01 + 0.055 * tool.opening)
        return bool(
            self.scene.arms[arm].gripper < PINCHING_COMMAND
            and np.all(np.abs(local) < [0.025, 0.02, 0.03])
            and gap > width - 0.006
            and gap < width + 0.006
        )

    def holds(self, arm: str, grasp: Grasp) -> bool:
        """Whether an arm has a body by this grasp."""
        return self.pinches(arm, grasp.point, grasp.width)

    def touches(self, arm: str, body: Body) -> bool:
        """Whether a finger of an arm touches a body."""
        return bool(self.scene.touching(f"{arm}_finger*", body.name))

    def released(self, body: Body) -> bool:
        """Whether both grippers are open and no finger touches a body."""
        return self.all_open() and not self.scene.fingers_on(body.name)

    def rests_on(self, body: Body, support: Body) -> bool:
        """Whether a body lies still on another."""
        return bool(self.scene.touching(body.name, support.name)) and body.speed < REST_SPEED

    def presses(self, arm: str, body: Body, point: str, tolerance: tuple[float, float, float]) -> bool:
        """Whether an arm's fingers, together, touch a body within `tolerance` (m, per axis) of its point."""
        if self.tool(arm).opening > PRESS_OPENING:
            return False
        touched = self.scene.touching(f"{arm}_finger*", body.name)
        return any(bool(np.all(np.abs(contact - body.point(point)) < tolerance)) for contact in touched)

    def has_opened(self, arm: str, body: Articulated, share: float, point: str) -> bool:
        """Whether a lid or door is open by `share` of its travel, a finger of the arm on it, its tool at `point`.

        RoboTwin asks for less: for any open door, for the tool within 10 cm of an open lid. But its arms turn by at
        most 1 rad/s, ours as fast as their actions say, and an arm that flails hooks behind a door and throws it open.
        """
        part = body.link
        at_handle = np.linalg.norm(self.tool(arm).position - part.point(point)) < AT_HANDLE
        return bool(body.fraction >= share and at_handle and self.touches(arm, part))

    def out_of_the_way(self, arm: str) -> bool:
        """Whether a tool is far enough from the middle of the table for the other arm to work there."""
        return bool(abs(self.tool(arm).position[0]) > 0.16 or self.tool(arm).position[2] > self.scene.table_top + 0.3)

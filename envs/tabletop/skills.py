"""Motions that task files share, named like RoboTwin's own (envs/_base_task.py of RoboTwin 2.0) where it has them.

Every skill is a stateless function of the simulator's state: it reads where the arm and the body are now and
returns where the tool should go next. So an expert made of skills recovers from any state, and labels any state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.constants import OPEN_COMMAND
from envs.tabletop import kinematics as kin
from envs.tabletop.predicates import CLOSED, OPEN, PRESS_OPENING, Grasp, Predicates
from envs.tabletop.robot import Tool
from envs.tabletop.rotations import DOWN, angle_between, directed, wrapped, yaw_of, yawed
from envs.tabletop.scene import Articulated, Body, Tabletop

Array = NDArray[np.floating]

SIGN = {"left": -1, "right": 1}  # of x on an arm's half of the table
ARM_AT = {-1: "left", 1: "right"}  # the arm of a half
SPEED = 0.022  # m per control step, free motion
SLOW = 0.012  # m per control step, when something is touched
NEAR = 0.007  # m: the tool has arrived
HOVER = 0.09  # m above a goal while approaching it
RAISE = 0.05  # m, a step straight up
UP = np.array([0.0, 0.0, 1.0])
TIP = 0.0196  # m, tool centre to fingertips
SIDE = 0.011  # m, tool centre to the broad side of the fingers
PULL_AHEAD = 0.03  # m or rad: how far ahead of a moving part the tool that pulls it is sent
PUSH_AHEAD = 0.02  # m
PUSH_START = 0.04  # m, behind the point that is pushed


@dataclass(frozen=True)
class Command:
    """Where a tool should go: tool centre (m, scene), endpose rotation [3, 3], gripper in [0, 1]."""

    position: Array
    rotation: Array
    gripper: float
    speed: float = SPEED


Commands = dict[str, Command]


def crosswise(tool: Tool) -> Array:
    """Rotation of a tool that points down, its fingers closing along y: clear of neighbours along x."""
    return yawed(np.pi / 2 if tool.rotation[1, 1] > 0 else -np.pi / 2)


def box_yaw(body: Body, tool: Tool) -> float:
    """Yaw (rad) that lines two fingers up with the sides of an upright box: the nearest to the tool's own yaw."""
    x, closing = body.rotation[:, 0], tool.rotation[:, 1]
    own = np.arctan2(closing[1], closing[0])
    return float(own + (np.arctan2(x[1], x[0]) - own + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def lengthwise(body: Body, yaw: float) -> float:
    """`yaw` (rad) or half a turn from it, whichever is nearer to the body's: long bodies may lie either way."""
    own = yaw_of(body.rotation)
    return float(own + (yaw - own + np.pi / 2) % np.pi - np.pi / 2)


class Skills(Predicates):
    """The skills, bound to one scene."""

    def __init__(self, scene: Tabletop) -> None:
        super().__init__(scene)
        self.home = {name: arm.tool() for name, arm in scene.arms.items()}

    # -- goals and rotations ----------------------------------------------------------------------

    def mirrored(self, arm: str, point: Array) -> Array:
        """World position [3] (m) of a point that is given for the right arm, its height above the table."""
        return point * [SIGN[arm], 1, 1] + [0, 0, self.scene.table_top]

    def reach_rotation(self, arm: str, point: Array, pitch: float) -> Array:
        """Rotation [3, 3] of a tool that reaches for `point` (m, scene) straight away from the arm's base."""
        x, y = point[:2] - self.scene.arms[arm].base.p[:2]
        return directed(np.arctan2(x, y), pitch)

    def rotation_to_orient(self, arm: str, body: Body, orientation: Array) -> Array:
        """Rotation [3, 3] of a tool whose held body has the world rotation `orientation` [3, 3]."""
        return orientation @ body.rotation.T @ self.tool(arm).rotation

    def rotation_to_face(self, arm: str, body: Body, yaw: float) -> Array:
        """Rotation [3, 3] of a tool that turns its held body, upright, to `yaw` (rad).

        When that is half a turn away, first the middle of the wrist's range: never the way that its limit blocks.
        """
        tool = self.tool(arm)
        rotation = self.rotation_to_orient(arm, body, yawed(yaw, np.eye(3)))
        if angle_between(tool.rotation, rotation) < 2.6:
            return rotation
        return self.reach_rotation(arm, tool.position, np.pi / 2)

    # -- grasps -----------------------------------------------------------------------------------

    def long_grasp(self, arm: str, body: Body, pitch: float = np.pi / 2, point: str = "grip") -> Grasp:
        """A grasp across a long body at a point, along its y axis, the tool `pitch` (rad) below the horizon."""
        closing, held = body.rotation[:, 1], body.point(point)
        azimuth = -np.arctan2(closing[1], closing[0])
        if self.reach_rotation(arm, held, 0.0)[:, 0] @ directed(azimuth, 0.0)[:, 0] < 0:
            azimuth += np.pi  # of the two possible ways the one that points away from the arm's base
        return Grasp(held, directed(azimuth, pitch), body.width)

    def turning_grasp(self, arm: str, body: Body, goal: Array, yaw: float) -> Grasp:
        """`long_grasp` from above, from the side from which the wrist can turn the body to `yaw` (rad) at `goal`."""
        held, closing = body.point("grip"), body.rotation[:, 1]
        turn = wrapped(np.arctan2(-closing[0], closing[1]) - yaw)  # the short way, from +y to +x
        start, end = (np.arctan2(*self.reach_rotation(arm, point, 0.0)[:2, 0]) for point in (held, goal))
        azimuth = -np.arctan2(closing[1], closing[0])
        choices = (azimuth - np.pi, azimuth, azimuth + np.pi)
        best = min(choices, key=lambda choice: max(abs(choice - start), abs(choice + turn - end)))
        return Grasp(held, directed(best, np.pi / 2), body.width)

    def round_grasp(self, arm: str, body: Body, pitch: float = 1.0, point: str = "grip") -> Grasp:
        """A grasp across an upright round body, straight away from the arm's base."""
        return Grasp(body.point(point), self.reach_rotation(arm, body.point(point), pitch), body.width)

    def rim_grasp(self, arm: str, body: Body, pitch: float = np.pi / 2, point: str = "rim") -> Grasp:
        """A grasp of the wall of an upright round vessel, at the arm's side of it; one finger goes inside."""
        x, _, z = body.points[point]
        rotation = self.reach_rotation(arm, body.position, pitch)
        outwards = rotation[:, 1] * SIGN[arm]
        return Grasp(body.position + x * outwards + z * UP, rotation, body.width, opening=0.5)

    # -- motions of a free gripper ----------------------------------------------------------------

    def open_gripper(self, arm: str, speed: float = SPEED) -> Command:
        """RoboTwin's open_gripper: opens where the tool is."""
        tool = self.tool(arm)
        return Command(tool.position, tool.rotation, OPEN, speed)

    def close_gripper(self, arm: str) -> Command:
        """RoboTwin's close_gripper: closes where the tool is."""
        tool = self.tool(arm)
        return Command(tool.position, tool.rotation, CLOSED)

    def move_by_displacement(self, arm: str, offset: Array, gripper: float = CLOSED, speed: float = SPEED) -> Command:
        """RoboTwin's move_by_displacement: moves a tool by `offset` [3] (m, scene); it keeps its rotation."""
        tool = self.tool(arm)
        return Command(tool.position + offset, tool.rotation, gripper, speed)

    def back_to_origin(self, arm: str) -> Command:
        """RoboTwin's back_to_origin: straight up when low, then home."""
        home, tool = self.home[arm], self.tool(arm)
        low = tool.position[2] < self.scene.table_top + 0.16
        if low and np.linalg.norm((tool.position - home.position)[:2]) > 0.04:
            return self.move_by_displacement(arm, RAISE * UP, OPEN)
        return Command(home.position, home.rotation, OPEN)

    def retreat(self, arm: str, body: Body, distance: float = 0.13) -> Command:
        """Backs an open gripper out of a body along the tool's axis, then goes home."""
        tool = self.tool(arm)
        if np.linalg.norm((tool.position - body.position)[:2]) < distance:
            return Command(tool.position - RAISE * tool.rotation[:, 0], tool.rotation, OPEN)
        return self.back_to_origin(arm)

    def hold_still(self, arm: str) -> Command:
        """Keeps an arm where its command is."""
        pose = self.scene.arms[arm].commanded_endpose()
        rotation = pose.to_transformation_matrix()[:3, :3]
        position = pose.p + kin.TOOL_OFFSET * rotation[:, 0]
        return Command(position, rotation, self.scene.arms[arm].gripper)

    def approach(
        self, arm: str, goal: Array, rotation: Array, gripper: float, hover: float = HOVER, along: Array = UP
    ) -> Command:
        """Comes to a goal through a funnel: first away from it, then over it, then in against `along`."""
        tool = self.tool(arm)
        offset = tool.position - goal
        distance = float(offset @ along)
        aside = float(np.linalg.norm(offset - distance * along))
        twist = angle_between(tool.rotation, rotation)
        safe = min(hover, 4.0 * max(0.0, aside - NEAR) + (hover if twist > 0.12 else 0.0))
        if distance < safe - 0.015 and aside > 0.02:
            return Command(tool.position + (safe + 0.01 - distance) * along, tool.rotation, gripper)
        return Command(goal + safe * along, rotation, gripper, SPEED if safe > 0.02 else SLOW)

    def grasp_point(
        self,
        arm: str,
        point: Array,
        rotation: Array,
        hover: float = HOVER,
        along: Array = UP,
        opening: float = OPEN,
    ) -> Command:
        """Opens before a world point [3] (m), goes in to it against `along`, and closes there."""
        tool = self.tool(arm)
        there = np.linalg.norm(point - tool.position) < NEAR + 0.003 and angle_between(tool.rotation, rotation) < 0.1
        if there:
            return Command(point, rotation, CLOSED, SLOW)
        closed = self.scene.arms[arm].gripper < OPEN_COMMAND * opening
        if closed and tool.opening < 0.9 * opening:  # a grasp that missed: open before anything else
            return Command(tool.position, tool.rotation, opening)
        return self.approach(arm, point, rotation, opening, hover, along)

    def grasp_actor(self, arm: str, grasp: Grasp, hover: float = HOVER) -> Command:
        """RoboTwin's grasp_actor: `grasp_point` along the tool's own axis, from above, slanting or level."""
        return self.grasp_point(arm, grasp.point, grasp.rotation, hover, -grasp.rotation[:, 0], grasp.opening)

    def press(self, arm: str, point: Array, rotation: Array = DOWN) -> Command:
        """Closes the gripper and pushes its fingertips down on `point` (m, scene)."""
        if self.tool(arm).opening > PRESS_OPENING:
            return Command(self.home[arm].position, self.home[arm].rotation, CLOSED)
        goal = point + (TIP - 0.006) * UP
        return self.approach(arm, goal, rotation, CLOSED, hover=0.05)

    # -- motions with a held body -----------------------------------------------------------------

    def carry(self, arm: str, held: Array, goal: Array, rotation: Array, hover: float = 0.07) -> Command:
        """Moves a held body so that its point `held` comes down on `goal` (both m, scene)."""
        offset = goal - held
        target = self.tool(arm).position + offset
        if np.linalg.norm(offset[:2]) < 0.012 and abs(offset[2]) < 0.02:
            return Command(target, rotation, CLOSED, SLOW)  # small corrections next to the support
        return self.approach(arm, target, rotation, CLOSED, hover)

    def lift_to(self, arm: str, held: Array, goal: Array, rotation: Array, clear: float = 0.13) -> Command:
        """Moves a held body in the air so that its point `held` comes to `goal` (both m, scene).

        Straight up first, while the tool is lower than `clear` (m) above the table.
        """
        tool = self.tool(arm)
        if tool.position[2] < self.scene.table_top + clear and np.linalg.norm((goal - held)[:2]) > 0.02:
            return self.move_by_displacement(arm, RAISE * UP)
        return Command(tool.position + goal - held, rotation, CLOSED)

    def lift_together(self, grasps: dict[str, Grasp], rise: float) -> Commands:
        """Both arms grasp one body and lift it, `rise` (m) above where it is now; the first one waits for the other."""
        held = {arm: self.holds(arm, grasp) for arm, grasp in grasps.items()}
        step = rise * UP if all(held.values()) else 0.0 * UP
        return {
            arm: Command(self.tool(arm).position + step, grasp.rotation, CLOSED, SLOW)
            if held[arm]
            else self.grasp_actor(arm, grasp)
            for arm, grasp in grasps.items()
        }

    def place_actor(
        self,
        arm: str,
        body: Body,
        goal: Array,
        rotation: Array,
        point: str = "",
        twist: float = np.pi,
        hover: float = 0.07,
    ) -> Command:
        """RoboTwin's place_actor: carries a held body to `goal` (m, scene) and opens there.

        Args:
            arm: that holds the body.
            body: what it holds.
            goal: where the body's `point`, by default its origin, belongs.
            rotation: of the tool there; `rotation_to_orient` gives the one that turns the body as wanted.
            point: name of a point of the body.
            twist: largest angle (rad) to `rotation` at which it opens.
            hover: how high above the goal it comes (m).
        """
        tool, held = self.tool(arm), body.point(point) if point else body.position
        offset = goal - held
        there = np.linalg.norm(offset[:2]) < 0.006 and abs(offset[2]) < 0.006
        if there and (twist >= np.pi or angle_between(tool.rotation, rotation) < twist):
            return self.open_gripper(arm, SLOW)
        return self.carry(arm, held, goal, rotation, hover)

    def pick_and_place(
        self,
        arm: str,
        body: Body,
        grasp: Grasp,
        goal: Array,
        rotation: Array,
        twist: float = np.pi,
        hover: float = 0.07,
        grasp_hover: float = HOVER,
    ) -> Command:
        """`grasp_actor`, then `place_actor`: the body's origin comes to `goal` (m, scene), the tool to `rotation`."""
        if self.holds(arm, grasp):
            return self.place_actor(arm, body, goal, rotation, twist=twist, hover=hover)
        return self.grasp_actor(arm, grasp, grasp_hover)

    def pick_turn_and_place(
        self,
        arm: str,
        body: Body,
        goal: Array,
        yaw: float,
        twist: float,
        hover: float = 0.07,
        grasp_hover: float = HOVER,
    ) -> Command:
        """`pick_and_place` from above of a body that is to have `yaw` (rad) at `goal` (m, scene), to within `twist`."""
        grasp, rotation = self.turning_grasp(arm, body, goal, yaw), self.rotation_to_face(arm, body, yaw)
        return self.pick_and_place(arm, body, grasp, goal, rotation, twist, hover, grasp_hover)

    def pick_and_place_box(self, arm: str, body: Body, width: float, goal: Array) -> Command:
        """Grasps an upright box of side `width` (m) at its centre and places it at `goal` (m, scene)."""
        centre = body.position + 0.004 * UP
        if self.pinches(arm, centre, width):
            return self.place_actor(arm, body, goal, DOWN)
        hover = max(HOVER, goal[2] - body.position[2] + 0.04)  # clears what is already at the goal
        return self.grasp_point(arm, centre, yawed(box_yaw(body, self.tool(arm))), hover)

    # -- lids, doors and drawers ------------------------------------------------------------------

    def pull(self, arm: str, body: Articulated, grasp: Grasp) -> Command:
        """Grasps the handle of a drawer or door and opens it along its slide or arc; the tool keeps its rotation."""
        if not self.holds(arm, grasp):
            return self.grasp_actor(arm, grasp)
        ahead, _ = body.moved(grasp.point, grasp.rotation, PULL_AHEAD)
        return Command(self.tool(arm).position + ahead - grasp.point, grasp.rotation, CLOSED, SLOW)

    def push(self, arm: str, body: Articulated, point: str, rotation: Array) -> Command:
        """Opens a lid or door with closed fingers: their broad side pushes its link's point along the arc from behind.

        Args:
            arm: that pushes.
            body: with the part to open.
            point: name of a point on the link's inner side.
            rotation: of the tool [3, 3]; it comes in along its own axis.
        """
        tool, touch = self.tool(arm), body.link.point(point)
        if tool.opening > PRESS_OPENING:
            return Command(self.home[arm].position, self.home[arm].rotation, CLOSED)
        ahead, _ = body.moved(touch, rotation, 0.02)
        way = (ahead - touch) / np.linalg.norm(ahead - touch)
        offset = tool.position - touch
        behind = float(offset @ way)
        if -SIDE - PUSH_START < behind < 0.0 and np.linalg.norm(offset - behind * way) < 0.03:
            return Command(touch + (PUSH_AHEAD - SIDE) * way, rotation, CLOSED, SLOW)
        return self.approach(arm, touch - (SIDE + 0.02) * way, rotation, CLOSED, along=-rotation[:, 0])

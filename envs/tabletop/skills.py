"""Motions that task files share, named like RoboTwin's own.

Every skill is a stateless function of the simulator's state: it looks where the arm and the body are now and
says where the tool should go next. So an expert made of skills recovers from any state, and labels any state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.tabletop import kinematics as kin
from envs.tabletop.contacts import REST_SPEED
from envs.tabletop.robot import OPEN_COMMAND, Arm, Tool, make_pose, quat_from_matrix
from envs.tabletop.rotations import DOWN, angle_between, directed, wrapped, yaw_of, yawed
from envs.tabletop.scene import Articulated, Body, Tabletop

Array = NDArray[np.floating]

SPEED = 0.022  # m per control step, free motion
SLOW = 0.012  # m per control step, when something is touched
TURN = 0.16  # rad per control step
GAIN = 0.5  # share of the remaining way covered per control step, near the goal
NEAR = 0.007  # m: the tool has arrived
AT_HAND = 0.05  # m: the tool is still where it opens a lid or door
HOVER = 0.09  # m above a goal while approaching it
UP = np.array([0.0, 0.0, 1.0])
TIP = 0.0196  # m, tool centre to fingertips
SIDE = 0.011  # m, tool centre to the broad side of the fingers
PULL_AHEAD = 0.03  # m or rad: how far ahead of a moving part the tool is sent that pulls it
PUSH_AHEAD = 0.02  # m
OPEN, CLOSED = 1.0, 0.0


@dataclass(frozen=True)
class Command:
    """Where a tool should go: tool centre (m, scene), endpose rotation [3, 3], gripper in [0, 1]."""

    position: Array
    rotation: Array
    gripper: float
    speed: float = SPEED


Commands = dict[str, Command]


@dataclass(frozen=True)
class Grip:
    """How two fingers take a body: tool centre (m, scene), endpose rotation [3, 3], what they span (m).

    `opening` is the gripper's command on the way there; less than OPEN where open fingers would hit something.
    """

    point: Array
    rotation: Array
    width: float
    opening: float = OPEN


def crosswise(tool: Tool) -> Array:
    """Rotation of a tool that points down, its fingers closing along y: clear of what stands beside it along x."""
    return yawed(np.pi / 2 if tool.rotation[1, 1] > 0 else -np.pi / 2)


def box_yaw(body: Body, tool: Tool) -> float:
    """Yaw (rad) that lines two fingers up with the sides of an upright box: the nearest to the tool's own yaw."""
    x, closing = body.rotation[:, 0], tool.rotation[:, 1]
    own = np.arctan2(closing[1], closing[0])
    return float(own + (np.arctan2(x[1], x[0]) - own + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def lengthwise(body: Body, yaw: float) -> float:
    """`yaw` (rad) or half a turn from it, whichever the body is nearer to: for long bodies that may lie either way."""
    own = yaw_of(body.rotation)
    return float(own + (yaw - own + np.pi / 2) % np.pi - np.pi / 2)


class Skills:
    """The skills, bound to one scene."""

    def __init__(self, scene: Tabletop) -> None:
        self.scene = scene
        self.home = {name: arm.tool() for name, arm in scene.arms.items()}

    # -- what is the case -------------------------------------------------------------------------

    def tool(self, arm: str) -> Tool:
        """Measured tool of an arm."""
        return self.scene.arms[arm].tool()

    def is_open(self, arm: str) -> bool:
        """RoboTwin's is_*_gripper_open: the command is above 0.8."""
        return self.scene.arms[arm].gripper > OPEN_COMMAND

    def all_open(self) -> bool:
        """Whether both grippers are open."""
        return all(self.is_open(arm) for arm in kin.ARMS)

    def side(self, body: Body) -> str:
        """The arm on the body's side of the table."""
        return "left" if body.position[0] < 0 else "right"

    def holds(self, arm: str, grasp_point: Array, width: float) -> bool:
        """Whether the closed fingers stand `width` (m) apart about a world point of the body."""
        tool = self.tool(arm)
        local = tool.rotation.T @ (grasp_point - tool.position)
        gap = 2 * (-0.01 + 0.055 * tool.opening)
        return bool(
            self.scene.arms[arm].gripper < 0.7
            and np.all(np.abs(local) < [0.025, 0.02, 0.03])
            and gap > width - 0.006
            and gap < width + 0.006
        )

    def rests_on(self, body: Body, support: Body) -> bool:
        """Whether a body lies still on another."""
        return bool(self.scene.touching(body.name, support.name)) and body.speed < REST_SPEED

    def has_opened(self, arm: str, body: Articulated, share: float, point: str) -> bool:
        """Whether a lid or door stands open by `share` of its travel, a finger of the arm on it, its tool at `point`.

        RoboTwin asks for less: for any open door, for the tool within 10 cm of an open lid. But its arms turn by at
        most 1 rad/s, ours as fast as their actions say, and an arm that flails hooks behind a door and throws it open.
        """
        part = body.link
        at_hand = np.linalg.norm(self.tool(arm).position - part.point(point)) < AT_HAND
        return bool(body.fraction >= share and at_hand and self.scene.touching(f"{arm}_finger*", part.name))

    def at_home(self, arm: str) -> bool:
        """Whether a tool is far enough from the middle of the table to leave it to the other arm."""
        return bool(abs(self.tool(arm).position[0]) > 0.16 or self.tool(arm).position[2] > self.scene.table_top + 0.3)

    # -- where to go ------------------------------------------------------------------------------

    def back_to_origin(self, arm: str) -> Command:
        """RoboTwin's back_to_origin: straight up when low, then home."""
        home, tool = self.home[arm], self.tool(arm)
        if (
            tool.position[2] < self.scene.table_top + 0.16
            and np.linalg.norm((tool.position - home.position)[:2]) > 0.04
        ):
            return Command(tool.position + 0.05 * UP, tool.rotation, OPEN)
        return Command(home.position, home.rotation, OPEN)

    def leave(self, arm: str, body: Body, distance: float = 0.13) -> Command:
        """Backs an open gripper out of a body sideways, then goes home."""
        tool = self.tool(arm)
        if np.linalg.norm((tool.position - body.position)[:2]) < distance:
            return Command(tool.position - 0.05 * tool.rotation[:, 0], tool.rotation, OPEN)
        return self.back_to_origin(arm)

    def reaching(self, arm: str, point: Array, pitch: float) -> Array:
        """Rotation [3, 3] of a tool that reaches for `point` (m, scene) straight away from the arm's base."""
        x, y = point[:2] - self.scene.arms[arm].base.p[:2]
        return directed(np.arctan2(x, y), pitch)

    def approach(
        self,
        arm: str,
        goal: Array,
        rotation: Array,
        gripper: float,
        hover: float = HOVER,
        along: Array = UP,
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

    def grasp(
        self,
        arm: str,
        point: Array,
        rotation: Array,
        hover: float = HOVER,
        along: Array = UP,
        opening: float = OPEN,
    ) -> Command:
        """RoboTwin's grasp_actor: open before the point, go in to it against `along`, close there."""
        tool = self.tool(arm)
        there = np.linalg.norm(point - tool.position) < NEAR + 0.003 and angle_between(tool.rotation, rotation) < 0.1
        if there:
            return Command(point, rotation, CLOSED, SLOW)
        closed = self.scene.arms[arm].gripper < OPEN_COMMAND * opening
        if closed and tool.opening < 0.9 * opening:  # a grasp that missed: open before anything else
            return Command(tool.position, tool.rotation, opening)
        return self.approach(arm, point, rotation, opening, hover, along)

    def take(self, arm: str, grip: Grip, hover: float = HOVER) -> Command:
        """`grasp` of a grip, coming in along the tool's own axis: from above, slanting or level."""
        return self.grasp(arm, grip.point, grip.rotation, hover, -grip.rotation[:, 0], grip.opening)

    # -- grips ------------------------------------------------------------------------------------

    def long_grip(self, arm: str, body: Body, pitch: float = np.pi / 2, point: str = "grip") -> Grip:
        """A grip on a long body's point: fingers close along its y axis, the tool `pitch` (rad) below the horizon."""
        closing, held = body.rotation[:, 1], body.point(point)
        azimuth = -np.arctan2(closing[1], closing[0])
        if self.reaching(arm, held, 0.0)[:, 0] @ directed(azimuth, 0.0)[:, 0] < 0:
            azimuth += np.pi  # of the two ways to take it, away from the arm's base
        return Grip(held, directed(azimuth, pitch), body.width)

    def round_grip(self, arm: str, body: Body, pitch: float = 1.0, point: str = "grip") -> Grip:
        """A grip across an upright round body, straight away from the arm's base."""
        return Grip(body.point(point), self.reaching(arm, body.point(point), pitch), body.width)

    def rim_grip(self, arm: str, body: Body, pitch: float = np.pi / 2, point: str = "rim") -> Grip:
        """A grip on the wall of an upright round vessel, at the arm's side of it; one finger goes inside."""
        x, _, z = body.points[point]
        rotation = self.reaching(arm, body.position, pitch)
        outwards = rotation[:, 1] * (1 if arm == "right" else -1)
        return Grip(body.position + x * outwards + z * UP, rotation, body.width, opening=0.5)

    def carry(self, arm: str, held: Array, goal: Array, rotation: Array, hover: float = 0.07) -> Command:
        """Moves a held body so that its point `held` comes down on `goal` (both m, scene)."""
        offset = goal - held
        target = self.tool(arm).position + offset
        if np.linalg.norm(offset[:2]) < 0.012 and abs(offset[2]) < 0.02:
            return Command(target, rotation, CLOSED, SLOW)  # small corrections next to the support
        return self.approach(arm, target, rotation, CLOSED, hover)

    def place(
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
            rotation: of the tool there; `turned` gives the one that turns the body as wanted.
            point: name of a point of the body.
            twist: largest angle (rad) to `rotation` at which it opens.
            hover: how high above the goal it comes (m).
        """
        tool, held = self.tool(arm), body.point(point) if point else body.position
        offset = goal - held
        there = np.linalg.norm(offset[:2]) < 0.006 and abs(offset[2]) < 0.006
        if there and (twist >= np.pi or angle_between(tool.rotation, rotation) < twist):
            return Command(tool.position, tool.rotation, OPEN, SLOW)
        return self.carry(arm, held, goal, rotation, hover)

    def turned(self, arm: str, body: Body, orientation: Array) -> Array:
        """Rotation [3, 3] of a tool whose held body has the world rotation `orientation` [3, 3]."""
        return orientation @ body.rotation.T @ self.tool(arm).rotation

    def pick_and_place(self, arm: str, body: Body, grip: Grip, goal: Array, rotation: Array) -> Command:
        """Takes a body by a grip and places its origin on `goal` (m, scene), the tool turned to `rotation` there."""
        if self.holds(arm, grip.point, grip.width):
            return self.place(arm, body, goal, rotation)
        return self.take(arm, grip)

    def lift(self, grips: dict[str, Grip], rise: float) -> Commands:
        """Both arms take one body and lift it together, `rise` (m) above where it is now; the first one waits."""
        tools = {arm: self.tool(arm) for arm in grips}
        held = {arm: self.holds(arm, grip.point, grip.width) for arm, grip in grips.items()}
        step = rise * UP if all(held.values()) else 0.0 * UP
        return {
            arm: Command(tools[arm].position + step, grip.rotation, CLOSED, SLOW) if held[arm] else self.take(arm, grip)
            for arm, grip in grips.items()
        }

    def pull(self, arm: str, body: Articulated, grip: Grip) -> Command:
        """Takes the handle of a drawer or door and opens it along its slide or arc; the tool keeps its rotation."""
        if not self.holds(arm, grip.point, grip.width):
            return self.take(arm, grip)
        ahead, _ = body.moved(grip.point, grip.rotation, PULL_AHEAD)
        return Command(self.tool(arm).position + ahead - grip.point, grip.rotation, CLOSED, SLOW)

    def push(self, arm: str, body: Articulated, point: str, rotation: Array, reach: float = SIDE) -> Command:
        """Opens a lid or door with closed fingers, pushing its link's point along the arc from behind.

        Args:
            arm: that pushes.
            body: with the part to open.
            point: name of a point on the link's inner side.
            rotation: of the tool [3, 3]; it comes in along its own axis.
            reach: from the tool centre to what touches: SIDE or TIP (m).
        """
        tool, touch = self.tool(arm), body.link.point(point)
        if tool.opening > 0.35:
            return Command(self.home[arm].position, self.home[arm].rotation, CLOSED)
        ahead, _ = body.moved(touch, rotation, 0.02)
        way = (ahead - touch) / np.linalg.norm(ahead - touch)
        offset = tool.position - touch
        behind = float(offset @ way)
        if -reach - 0.04 < behind < 0.0 and np.linalg.norm(offset - behind * way) < 0.03:
            return Command(touch + (PUSH_AHEAD - reach) * way, rotation, CLOSED, SLOW)
        return self.approach(arm, touch - (reach + 0.02) * way, rotation, CLOSED, along=-rotation[:, 0])

    def press(self, arm: str, point: Array, rotation: Array = DOWN) -> Command:
        """Closes the gripper and pushes its fingertips down on `point` (m, scene)."""
        if self.tool(arm).opening > 0.35:
            return Command(self.home[arm].position, self.home[arm].rotation, CLOSED)
        goal = point + (TIP - 0.006) * UP
        return self.approach(arm, goal, rotation, CLOSED, hover=0.05)

    def pick_and_place_box(self, arm: str, body: Body, width: float, goal: Array) -> Command:
        """Grasps an upright box of side `width` (m) at its centre and places it at `goal` (m, scene)."""
        grasp_point = body.position + 0.004 * UP
        if self.holds(arm, grasp_point, width):
            return self.place(arm, body, goal, DOWN)
        hover = max(HOVER, goal[2] - body.position[2] + 0.04)  # clears what already stands at the goal
        return self.grasp(arm, grasp_point, yawed(box_yaw(body, self.tool(arm))), hover)

    def wait(self, arm: str) -> Command:
        """Holds an arm where its command is."""
        pose = self.scene.arms[arm].commanded_endpose()
        rotation = pose.to_transformation_matrix()[:3, :3]
        position = pose.p + kin.TOOL_OFFSET * rotation[:, 0]
        return Command(position, rotation, self.scene.arms[arm].gripper)

    def bring(self, arm: str, held: Array, goal: Array, rotation: Array, clear: float = 0.13) -> Command:
        """Moves a held body in the air so that its point `held` comes to `goal` (both m, scene).

        Straight up first, while the tool is lower than `clear` (m) above the table.
        """
        tool = self.tool(arm)
        if tool.position[2] < self.scene.table_top + clear and np.linalg.norm((goal - held)[:2]) > 0.02:
            return Command(tool.position + 0.05 * UP, tool.rotation, CLOSED)
        return Command(tool.position + goal - held, rotation, CLOSED)

    def turning_grip(self, arm: str, body: Body, goal: Array, yaw: float) -> Grip:
        """`long_grip` from above, from the side from which the wrist can turn the body to `yaw` (rad) at `goal`."""
        held, closing = body.point("grip"), body.rotation[:, 1]
        turn = wrapped(np.arctan2(-closing[0], closing[1]) - yaw)  # the short way, from +y to +x
        start, end = (np.arctan2(*self.reaching(arm, point, 0.0)[:2, 0]) for point in (held, goal))
        azimuth = -np.arctan2(closing[1], closing[0])
        choices = (azimuth - np.pi, azimuth, azimuth + np.pi)
        best = min(choices, key=lambda choice: max(abs(choice - start), abs(choice + turn - end)))
        return Grip(held, directed(best, np.pi / 2), body.width)

    def facing(self, arm: str, body: Body, yaw: float) -> Array:
        """Rotation [3, 3] of a tool that turns its held body, upright, to `yaw` (rad).

        When that is half a turn away, first the middle of the wrist's range: never the way that its limit blocks.
        """
        tool = self.tool(arm)
        rotation = self.turned(arm, body, yawed(yaw, np.eye(3)))
        if angle_between(tool.rotation, rotation) < 2.6:
            return rotation
        return self.reaching(arm, tool.position, np.pi / 2)


def next_joints(arm: Arm, command: Command) -> Array:
    """One control step towards a command, speed-limited: joint targets [6] (rad).

    A gripper that is just letting go keeps still, or it would drag along what it releases.
    """
    if command.gripper > OPEN_COMMAND and arm.is_opening:
        return arm.joints
    pose = arm.commanded_endpose()
    rotation = pose.to_transformation_matrix()[:3, :3]
    position = pose.p + kin.TOOL_OFFSET * rotation[:, 0]
    way = command.position - position
    distance = float(np.linalg.norm(way))
    step = way * min(1.0, max(GAIN, 0.004 / max(distance, 1e-9)), command.speed / max(distance, 1e-9))
    rotation = turn_towards(rotation, command.rotation, TURN)
    origin = position + step - kin.TOOL_OFFSET * rotation[:, 0]
    return arm.inverse(make_pose(origin, quat_from_matrix(rotation)))


def turn_towards(rotation: Array, goal: Array, limit: float) -> Array:
    """`rotation` [3, 3] turned towards `goal` [3, 3] by at most `limit` (rad), half of the way when near."""
    angle = angle_between(rotation, goal)
    if angle < 1e-6:
        return goal
    relative = rotation.T @ goal
    axis = np.array([relative[2, 1] - relative[1, 2], relative[0, 2] - relative[2, 0], relative[1, 0] - relative[0, 1]])
    norm = np.linalg.norm(axis)
    if norm < 1e-6:  # half a turn: any axis will do
        axis, norm = np.array([0.0, 0.0, 1.0]), 1.0
    axis = axis / norm
    theta = min(limit, max(GAIN * angle, min(angle, 0.02)))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return rotation @ (np.eye(3) + np.sin(theta) * cross + (1 - np.cos(theta)) * cross @ cross)

"""Carrying several bodies to one place with two arms: both may take something, one at a time comes to the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.tabletop import kinematics as kin
from envs.tabletop.scene import Body
from envs.tabletop.skills import CLOSED, OPEN, UP, Command, Commands, Grip, Skills

Array = NDArray[np.floating]

CLEAR = 0.06  # m: an open gripper has left what it held
ASIDE, RAISED = 0.26, 0.22  # m: where an arm waits with what it holds, off the middle and above the table


@dataclass(frozen=True, eq=False)
class Errand:
    """One body that one arm carries: the grip, where its origin belongs (m, scene), the tool's rotation there.

    `done` is whether it lies there now, held or not; twist and hover are `Skills.place`'s.
    """

    arm: str
    body: Body
    grip: Grip
    goal: Array
    rotation: Array
    done: bool
    twist: float = np.pi
    hover: float = 0.07


def in_turn(skills: Skills, errands: Sequence[Errand]) -> Commands:
    """Runs errands in their order; the arm whose turn is not yet takes its body and waits aside with it."""
    commands = {arm: skills.back_to_origin(arm) for arm in kin.ARMS}
    held = {e: skills.holds(e.arm, e.grip.point, e.grip.width) for e in errands}
    todo = [e for e in errands if held[e] or not e.done]
    todo.sort(key=lambda e: not e.done)  # first of all lets go of what is there already
    for errand in reversed(todo):
        commands[errand.arm] = skills.take(errand.arm, errand.grip)
    for errand in errands:  # first of all straight up from what has just been let go
        tool = skills.tool(errand.arm)
        if errand not in todo and np.linalg.norm(tool.position - errand.grip.point) < CLEAR:
            commands[errand.arm] = Command(tool.position + 0.05 * UP, tool.rotation, OPEN)
    for arm in kin.ARMS:
        mine = next((e for e in todo if e.arm == arm and held[e]), None)
        other = kin.ARMS[1 - kin.ARMS.index(arm)]
        if mine is None:
            continue
        if mine is todo[0] and skills.at_home(other):
            commands[arm] = skills.place(arm, mine.body, mine.goal, mine.rotation, twist=mine.twist, hover=mine.hover)
        else:
            commands[arm] = aside(skills, arm)
    return commands


def aside(skills: Skills, arm: str) -> Command:
    """Keeps what an arm holds beside the middle, in the air."""
    sign, tool = (-1 if arm == "left" else 1), skills.tool(arm)
    place = np.array([sign * max(ASIDE, sign * tool.position[0]), -0.12, skills.scene.table_top + RAISED])
    return Command(place, tool.rotation, CLOSED)

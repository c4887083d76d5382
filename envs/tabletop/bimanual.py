"""Two arms carry several bodies to one place: both may hold one, but they place them one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.constants import ARMS, other_arm
from envs.tabletop.predicates import CLOSED, OPEN, Grasp
from envs.tabletop.scene import Body
from envs.tabletop.skills import RAISE, SIGN, UP, Command, Commands, Skills

Array = NDArray[np.floating]

RELEASED = 0.06  # m: an open gripper this close to a grasp point has just released the body
WAIT_X, WAIT_Y, WAIT_HEIGHT = 0.26, -0.12, 0.22  # m, on the arm's half and above the table: where an arm waits


@dataclass(frozen=True, eq=False)
class PickPlace:
    """One body that one arm carries.

    Attributes:
        arm, body, grasp: which arm takes which body, and how.
        goal: where the body's origin belongs (m, scene).
        rotation: of the tool there [3, 3].
        done: whether the body is there now, held or not.
        twist, hover: as in `Skills.place_actor`.
    """

    arm: str
    body: Body
    grasp: Grasp
    goal: Array
    rotation: Array
    done: bool
    twist: float = np.pi
    hover: float = 0.07


def place_in_turn(skills: Skills, jobs: Sequence[PickPlace]) -> Commands:
    """Does the jobs in their order; an arm whose turn has not come grasps its body and waits with it."""
    commands: Commands = {}
    held = {job: skills.holds(job.arm, job.grasp) for job in jobs}
    todo = [job for job in jobs if held[job] or not job.done]
    todo.sort(key=lambda job: not job.done)  # a body that is at its goal is released before anything else
    for job in reversed(todo):
        commands[job.arm] = skills.grasp_actor(job.arm, job.grasp)
    for job in jobs:
        if job not in todo and np.linalg.norm(skills.tool(job.arm).position - job.grasp.point) < RELEASED:
            commands[job.arm] = skills.move_by_displacement(job.arm, RAISE * UP, OPEN)
    for arm in ARMS:
        job = next((job for job in todo if job.arm == arm and held[job]), None)
        if job is None:
            continue
        if job is todo[0] and skills.out_of_the_way(other_arm(arm)):
            commands[arm] = skills.place_actor(arm, job.body, job.goal, job.rotation, twist=job.twist, hover=job.hover)
        else:
            commands[arm] = wait_aside(skills, arm)
    return commands


def wait_aside(skills: Skills, arm: str) -> Command:
    """Keeps what an arm holds beside the middle of the table, in the air."""
    sign, tool = SIGN[arm], skills.tool(arm)
    place = np.array([sign * max(WAIT_X, sign * tool.position[0]), WAIT_Y, skills.scene.table_top + WAIT_HEIGHT])
    return Command(place, tool.rotation, CLOSED)

"""What RoboTwin's block tasks share: spawning, the stacking and ranking experts and their success predicates."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from envs.tabletop import kinematics as kin
from envs.tabletop.scene import Body, Colour, Tabletop
from envs.tabletop.skills import UP, Commands, Skills, crosswise

Array = NDArray[np.floating]

BLOCK_SIDE = 0.05  # m
COLOURS: dict[str, Colour] = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
STACK_TOLERANCE = (0.025, 0.025, 0.012)  # m, RoboTwin's


def load_blocks(scene: Tabletop, colours: tuple[str, ...], clear: float, side: float = BLOCK_SIDE) -> list[Body]:
    """Spawns blocks in RoboTwin's ranges: off the middle, off each other, yaw within 0.75 rad."""
    half = side / 2
    spots: list[Array] = []
    while len(spots) < len(colours):
        x = scene.rng.uniform(-0.28, 0.28)
        y = scene.rng.uniform(-0.08, 0.0 if abs(x) < 0.15 else 0.05)
        spot = np.array([x, y])
        off_target = np.sum((spot - [0.0, -0.1]) ** 2) >= 0.0225
        if abs(x) >= 0.05 and off_target and all(np.sum((spot - other) ** 2) >= 0.01 for other in spots):
            spots.append(spot)
    blocks = []
    for colour, spot in zip(colours, spots, strict=True):
        yaw = scene.rng.uniform(-0.75, 0.75)
        position = [*spot, scene.table_top + half + 0.001]
        blocks.append(scene.box(f"{colour}_block", (half, half, half), position, COLOURS[colour], yaw))
        scene.keep_clear(spot, clear)
    scene.keep_clear(np.array([0.0, -0.13]), 0.08)
    return blocks


def on_top(upper: Body, lower: Body, side: float = BLOCK_SIDE) -> bool:
    """RoboTwin's test: the upper block's centre is one side above the lower one's, within the tolerance."""
    goal = lower.position + side * UP
    return bool(np.all(np.abs(upper.position - goal) < STACK_TOLERANCE))


def stacked(scene: Tabletop, skills: Skills, blocks: list[Body], side: float = BLOCK_SIDE) -> bool:
    """Success of a stacking task: each block on the one before, grippers open, no finger on any block.

    The last condition is ours: a block that is still pinched, or held in the air, is not stacked.
    """
    pairs = list(itertools.pairwise(blocks))
    if not (skills.all_open() and all(on_top(upper, lower, side) for lower, upper in pairs)):
        return False
    supported = all(scene.touching(upper.name, lower.name) for lower, upper in pairs)
    return supported and not any(scene.fingers_on(block.name) for block in blocks)


def stack_expert(skills: Skills, blocks: list[Body], base: Array, side: float = BLOCK_SIDE) -> Commands:
    """Carries the first block to `base` (m, scene), then each next one on top; idle arms go home."""
    commands: Commands = {}
    goal = base
    for block in blocks:
        done = np.linalg.norm((block.position - goal)[:2]) < 0.012 and abs(block.position[2] - goal[2]) < 0.006
        held_by = next((a for a in kin.ARMS if skills.holds(a, block.position + 0.004 * UP, side)), None)
        if not done or held_by:
            commands = _carry(skills, block, side, goal, held_by)
            break
        goal = block.position + side * UP
    return {arm: commands.get(arm) or skills.back_to_origin(arm) for arm in kin.ARMS}


def _carry(
    skills: Skills, block: Body, side: float, goal: Array, held_by: str | None, aligned: bool = False
) -> Commands:
    """One arm picks and places the block; it waits beside the middle until the other arm has left."""
    arm = held_by or skills.side(block)
    other = kin.ARMS[1 - kin.ARMS.index(arm)]
    command = skills.pick_and_place_box(arm, block, side, goal)
    if held_by and aligned:
        command = skills.place(arm, block, goal, crosswise(skills.tool(arm)), twist=0.15)
    if held_by and not skills.at_home(other) and np.linalg.norm((block.position - goal)[:2]) < 0.16:
        command = skills.wait(arm)
    return {arm: command}


def load_row(scene: Tabletop, sides: list[float], looks: dict[str, Colour]) -> tuple[list[Body], list[Array]]:
    """Spawns blocks of given sides (m) for a ranking task, and draws where they belong: a row along x.

    Returns:
        the blocks, in the order in which they belong from left to right, and their goals (xy, m).
    """
    while True:
        spots: list[Array] = []
        while len(spots) < len(sides):
            x = scene.rng.uniform(-0.28, 0.28)
            spot = np.array([x, scene.rng.uniform(-0.08, 0.0 if abs(x) < 0.15 else 0.05)])
            off_middle = abs(x) >= 0.05 and np.sum((spot - [0.0, -0.1]) ** 2) >= 0.01
            if off_middle and all(np.sum((spot - other) ** 2) >= 0.01 for other in spots):
                spots.append(spot)
        y = scene.rng.uniform(-0.2, -0.1)
        goals = [np.array([x + scene.rng.uniform(-0.005, 0.005), y]) for x in (-0.09, 0.0, 0.09)]
        free = all(np.linalg.norm(goal - spot) > 0.09 for goal in goals for spot in spots)
        if free and not _in_row([np.array(spot) for spot in spots], margin=0.02):
            break
    scene.box_clutter = False  # one could not tell which of the boxes belong in the row
    blocks = []
    for (name, look), side, spot in zip(looks.items(), sides, spots, strict=True):
        position, half = [*spot, scene.table_top + side / 2 + 0.001], side / 2
        blocks.append(scene.box(name, (half, half, half), position, look, scene.rng.uniform(-0.75, 0.75)))
        scene.keep_clear(spot, 0.07)
    scene.keep_clear(np.array([-0.08, y]), 0.1)
    scene.keep_clear(np.array([0.08, y]), 0.1)
    return blocks, goals


def _in_row(places: list[Array], margin: float = 0.0) -> bool:
    """RoboTwin's test: ordered along x, neighbours within 13 cm along x and 3 cm along y."""
    steps = [second - first for first, second in itertools.pairwise(places)]
    return all(0 < x < 0.13 + margin and abs(y) < 0.03 + margin for x, y in (step[:2] for step in steps))


def ranked(scene: Tabletop, skills: Skills, blocks: list[Body]) -> bool:
    """Success of a ranking task: the row stands in order on the table, grippers open, no finger on any block."""
    if not (skills.all_open() and _in_row([block.position for block in blocks])):
        return False
    on_table = all(scene.touching(block.name, "table") for block in blocks)
    return on_table and not any(scene.fingers_on(block.name) for block in blocks)


def row_expert(skills: Skills, blocks: list[Body], sides: list[float], goals: list[Array]) -> Commands:
    """Carries each block to its goal (xy, m), with the fingers across the row; idle arms go home."""
    commands: Commands = {}
    for block, side, spot in zip(blocks, sides, goals, strict=True):
        goal = np.array([*spot, skills.scene.table_top + side / 2])
        done = np.linalg.norm((block.position - goal)[:2]) < 0.012 and abs(block.position[2] - goal[2]) < 0.006
        held_by = next((a for a in kin.ARMS if skills.holds(a, block.position + 0.004 * UP, side)), None)
        if not done or held_by:
            commands = _carry(skills, block, side, goal, held_by, aligned=True)
            break
    return {arm: commands.get(arm) or skills.back_to_origin(arm) for arm in kin.ARMS}

"""What RoboTwin's block tasks share: spawning, success predicates and experts of stacking and ranking."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.constants import ARMS, other_arm
from envs.tabletop.scene import Body, Colour, Tabletop
from envs.tabletop.skills import UP, Commands, Skills, crosswise

Array = NDArray[np.floating]

BLOCK_SIDE = 0.05  # m
COLOURS: dict[str, Colour] = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}

# Where blocks spawn, RoboTwin's ranges.
MAX_X = 0.28  # m, to both sides
MIN_X = 0.05  # m: nearer to the middle line no arm is the nearer one
MIN_Y, MAX_Y, MAX_Y_OUTSIDE = -0.08, 0.0, 0.05  # m; the last beyond OUTSIDE
OUTSIDE = 0.15  # m, of x
MAX_YAW = 0.75  # rad
GOAL_CENTRE = (0.0, -0.1)  # m: about where stacks and rows are built
MIN_GOAL_DISTANCE2 = 0.0225  # m2, square of a block's least distance to GOAL_CENTRE: for a stack
MIN_GOAL_DISTANCE2_ROW = 0.01  # m2: for a row
MIN_DISTANCE2 = 0.01  # m2, between two blocks

STACK_BASE = (0.0, -0.13)  # m, where the expert builds a stack
STACK_TOLERANCE = (0.025, 0.025, 0.012)  # m, RoboTwin's
STACK_CLEARANCE = 0.08  # m, half width of the square about STACK_BASE without clutter

ROW_X, ROW_JITTER = (-0.09, 0.0, 0.09), 0.005  # m, where the blocks of a row belong
ROW_Y = (-0.2, -0.1)  # m, range of the row's y
ROW_DISTANCE = 0.09  # m, of a spawned block from each place in the row
ROW_STEP, ROW_WIDTH = 0.13, 0.03  # m, RoboTwin's: largest offset of neighbours along x and along y
ROW_MARGIN = 0.02  # m: spawned blocks are not nearly a row yet
ROW_CLEARANCE, ROW_CLEAR_X = 0.1, 0.08  # m, squares without clutter about the row
BLOCK_CLEARANCE = 0.07  # m, the same about a block

CENTRE_TOLERANCE, HEIGHT_TOLERANCE = 0.012, 0.006  # m: nearer to its goal the expert leaves a block alone
GRASP_HEIGHT = 0.004  # m, of the grasp above a block's centre
HANDOFF_DISTANCE = 0.16  # m from its goal: where an arm waits with a block until the other arm is out of the way


def random_spots(scene: Tabletop, number: int, goal_distance2: float) -> list[Array]:
    """Places [2] (m) of blocks, off the middle and off each other; the arguments are those of `load_blocks`."""
    spots: list[Array] = []
    while len(spots) < number:
        x = scene.rng.uniform(-MAX_X, MAX_X)
        spot = np.array([x, scene.rng.uniform(MIN_Y, MAX_Y if abs(x) < OUTSIDE else MAX_Y_OUTSIDE)])
        off_middle = abs(x) >= MIN_X and np.sum((spot - GOAL_CENTRE) ** 2) >= goal_distance2
        if off_middle and all(np.sum((spot - other) ** 2) >= MIN_DISTANCE2 for other in spots):
            spots.append(spot)
    return spots


def spawn_block(scene: Tabletop, name: str, side: float, spot: Array, colour: Colour) -> Body:
    """Puts a block of a given side (m) on the table at `spot` [2] (m), its yaw drawn."""
    half, yaw = side / 2, scene.rng.uniform(-MAX_YAW, MAX_YAW)
    scene.keep_clear(spot, BLOCK_CLEARANCE)
    return scene.box(name, (half, half, half), [*spot, scene.table_top + half + 0.001], colour, yaw)


def load_blocks(scene: Tabletop, colours: Sequence[str], side: float = BLOCK_SIDE) -> list[Body]:
    """Spawns blocks to stack, of equal side (m), called `<colour>_block`."""
    spots = random_spots(scene, len(colours), MIN_GOAL_DISTANCE2)
    blocks = [
        spawn_block(scene, f"{colour}_block", side, spot, COLOURS[colour])
        for colour, spot in zip(colours, spots, strict=True)
    ]
    scene.keep_clear(np.array(STACK_BASE), STACK_CLEARANCE)
    return blocks


def stack_base(scene: Tabletop, side: float = BLOCK_SIDE) -> Array:
    """Where the lowest block's centre belongs (m, scene)."""
    return np.array([*STACK_BASE, scene.table_top + side / 2])


def on_top(upper: Body, lower: Body, side: float = BLOCK_SIDE) -> bool:
    """RoboTwin's test: the upper block's centre is one side above the lower one's, within the tolerance."""
    goal = lower.position + side * UP
    return bool(np.all(np.abs(upper.position - goal) < STACK_TOLERANCE))


def stacked(scene: Tabletop, skills: Skills, blocks: list[Body], side: float = BLOCK_SIDE) -> bool:
    """Success of a stacking task: each block rests on the one before, grippers open, no finger on any block.

    The last condition is not RoboTwin's: a block that is still pinched, or held in the air, is not stacked.
    """
    return all(
        on_top(upper, lower, side) and scene.touching(upper.name, lower.name)
        for lower, upper in itertools.pairwise(blocks)
    ) and all(skills.released(block) for block in blocks)


def stack_expert(skills: Skills, blocks: list[Body], base: Array, side: float = BLOCK_SIDE) -> Commands:
    """Carries the first block to `base` (m, scene), then each next one on top of the one before."""
    goals = [base, *(block.position + side * UP for block in blocks[:-1])]
    return _place_in_order(skills, blocks, [side] * len(blocks), goals, crossways=False)


def load_row(scene: Tabletop, sides: list[float], colours: dict[str, Colour]) -> tuple[list[Body], list[Array]]:
    """Spawns blocks of given sides (m) for a ranking task, and draws where they belong: a row along x.

    Args:
        scene: to spawn them in.
        sides: of the blocks (m).
        colours: of the blocks by name.

    Returns:
        the blocks, in the order in which they belong from left to right, and their goals (xy, m).
    """
    while True:
        spots = random_spots(scene, len(sides), MIN_GOAL_DISTANCE2_ROW)
        y = scene.rng.uniform(*ROW_Y)
        goals = [np.array([x + scene.rng.uniform(-ROW_JITTER, ROW_JITTER), y]) for x in ROW_X]
        free = all(np.linalg.norm(goal - spot) > ROW_DISTANCE for goal in goals for spot in spots)
        if free and not in_row(spots, ROW_MARGIN):
            break
    scene.box_clutter = False  # no other box may look like a part of the row
    blocks = [
        spawn_block(scene, name, side, spot, colour)
        for (name, colour), side, spot in zip(colours.items(), sides, spots, strict=True)
    ]
    for x in (-ROW_CLEAR_X, ROW_CLEAR_X):
        scene.keep_clear(np.array([x, y]), ROW_CLEARANCE)
    return blocks, goals


def in_row(places: list[Array], margin: float = 0.0) -> bool:
    """RoboTwin's test: ordered along x, neighbours within 13 cm along x and 3 cm along y."""
    steps = [second - first for first, second in itertools.pairwise(places)]
    return all(0 < x < ROW_STEP + margin and abs(y) < ROW_WIDTH + margin for x, y in (step[:2] for step in steps))


def ranked(scene: Tabletop, skills: Skills, blocks: list[Body]) -> bool:
    """Success of a ranking task: the row is in order, on the table, grippers open, no finger on any block."""
    return in_row([block.position for block in blocks]) and all(
        skills.released(block) and scene.touching(block.name, "table") for block in blocks
    )


def row_expert(skills: Skills, blocks: list[Body], sides: list[float], goals: list[Array]) -> Commands:
    """Carries each block to its goal (xy, m), with the fingers across the row."""
    centres = [np.array([*goal, skills.scene.table_top + side / 2]) for goal, side in zip(goals, sides, strict=True)]
    return _place_in_order(skills, blocks, sides, centres, crossways=True)


def _place_in_order(
    skills: Skills, blocks: list[Body], sides: list[float], goals: list[Array], crossways: bool
) -> Commands:
    """One arm picks and places the first block that is not at its goal (m, scene), or that is still held.

    It waits beside the middle until the other arm has left. `crossways`: it opens with the fingers along y.
    """
    for block, side, goal in zip(blocks, sides, goals, strict=True):
        offset = block.position - goal
        done = np.linalg.norm(offset[:2]) < CENTRE_TOLERANCE and abs(offset[2]) < HEIGHT_TOLERANCE
        grasp_point = block.position + GRASP_HEIGHT * UP
        held_by = next((arm for arm in ARMS if skills.pinches(arm, grasp_point, side)), None)
        if done and not held_by:
            continue
        arm = held_by or skills.near_arm(block)
        waits = held_by and not skills.out_of_the_way(other_arm(arm))
        if waits and np.linalg.norm(offset[:2]) < HANDOFF_DISTANCE:
            return {arm: skills.hold_still(arm)}
        if held_by and crossways:
            return {arm: skills.place_actor(arm, block, goal, crosswise(skills.tool(arm)), twist=0.15)}
        return {arm: skills.pick_and_place_box(arm, block, side, goal)}
    return {}

"""Objects of RoboTwin's tasks, built from primitives in a few sizes and colours; origins on the underside."""

from __future__ import annotations

import numpy as np
import sapien
from numpy.typing import NDArray

from envs.tabletop.scene import Body, Colour, Tabletop, add_cylinder, material, upright

Array = NDArray[np.floating]

METALS: tuple[Colour, ...] = ((0.85, 0.65, 0.2), (0.75, 0.76, 0.8), (0.8, 0.25, 0.2))
CUP_COLOURS: tuple[Colour, ...] = (
    (0.95, 0.95, 0.92),
    (0.25, 0.45, 0.85),
    (0.9, 0.75, 0.2),
    (0.85, 0.35, 0.3),
)
COASTER_COLOURS: tuple[Colour, ...] = ((0.45, 0.28, 0.14), (0.2, 0.2, 0.22), (0.15, 0.4, 0.3))
HANDLE_COLOURS: tuple[Colour, ...] = ((0.75, 0.5, 0.25), (0.85, 0.2, 0.15), (0.15, 0.35, 0.75))

CUP_SIDES = 12
CUP_WALL = 0.004  # m
HANDLE_WIDTH = 0.022  # m, the hammer's handle
HAMMER_MASS = 0.03  # kg; light, as in RoboTwin, and all of it in the head, so that the hammer stands on its face


def _pick(world: Tabletop, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(world.rng.integers(len(colours)))]


def bell(world: Tabletop, position: Array) -> Body:
    """A desk bell, fixed to the table: foot, dome and button; point "top" is the middle of its button."""
    scale = (1.0, 0.85)[int(world.rng.integers(2))]
    builder = world.scene.create_actor_builder()
    add_cylinder(builder, 0.044 * scale, 0.005, material((0.1, 0.1, 0.1)), world.friction, height=0.005)
    dome = sapien.Pose([0, 0, 0.01])
    builder.add_sphere_visual(dome, 0.036 * scale, material(_pick(world, METALS), roughness=0.25))
    builder.add_sphere_collision(dome, 0.036 * scale, world.friction)
    top = 0.01 + 0.036 * scale
    add_cylinder(builder, 0.009, 0.006, material((0.95, 0.95, 0.95)), world.friction, height=top + 0.005)
    made = world.add("bell", builder, upright(position), static=True)
    made.points["top"] = np.array([0.0, 0.0, top + 0.011])
    return made


def hammer(world: Tabletop, position: Array, yaw: float) -> Body:
    """A hammer that stands on its striking face, the handle lying level towards -y of its own frame.

    Points: "face", the middle of the striking face; "grip", where the handle is held.
    """
    scale = (1.0, 0.9)[int(world.rng.integers(2))]
    steel, handle = material((0.22, 0.23, 0.26), 0.3), material(_pick(world, HANDLE_COLOURS))
    middle = 0.042 * scale  # m, height of the handle above the striking face
    builder = world.scene.create_actor_builder()
    add_cylinder(builder, 0.026 * scale, 0.016, steel, world.friction, height=0.016)
    half = (0.016 * scale, 0.016 * scale, 0.024 * scale)
    builder.add_box_visual(sapien.Pose([0, 0, middle]), half, steel)
    builder.add_box_collision(sapien.Pose([0, 0, middle]), half, world.friction)
    add_cylinder(builder, 0.022 * scale, 0.009, steel, world.friction, height=2 * middle - 0.009)
    length = 0.17 * scale
    half = (HANDLE_WIDTH / 2, length / 2, HANDLE_WIDTH / 2)
    centre = sapien.Pose([0, -length / 2 - half[0] / 2, middle])
    builder.add_box_visual(centre, half, handle)
    builder.add_box_collision(centre, half, world.friction)
    builder.set_mass_and_inertia(HAMMER_MASS, sapien.Pose([0, -0.004, middle]), [1e-4, 1e-4, 1e-4])
    made = world.add("hammer", builder, upright(position, yaw))
    made.points["face"] = np.zeros(3)
    made.points["grip"] = np.array([0.0, -0.115 * scale, middle])
    return made


def cup(world: Tabletop, position: Array) -> Body:
    """An empty cup without a handle.

    Points: "grip", on its axis, where two fingers hold it; "wall", on its outside at the same height.
    """
    radius = float(world.rng.choice([0.031, 0.034]))
    height = float(world.rng.choice([0.085, 0.1]))
    look, inside = material(_pick(world, CUP_COLOURS)), material((0.35, 0.33, 0.3))
    builder = world.scene.create_actor_builder()
    half = (CUP_WALL / 2, (radius + 0.0005) * np.tan(np.pi / CUP_SIDES), height / 2)
    for side in range(CUP_SIDES):
        angle = 2 * np.pi * side / CUP_SIDES
        out = (radius - CUP_WALL / 2) * np.array([np.cos(angle), np.sin(angle)])
        wall = upright([*out, height / 2], angle)
        builder.add_box_visual(wall, half, look)
        builder.add_box_collision(wall, half, world.friction, density=400)
    add_cylinder(builder, radius - CUP_WALL, 0.003, inside, world.friction, height=0.003)
    made = world.add("cup", builder, upright(position))
    made.points["grip"] = np.array([0.0, 0.0, height - 0.025])
    made.points["wall"] = np.array([radius, 0.0, height - 0.025])
    return made


def coaster(world: Tabletop, position: Array) -> Body:
    """A round coaster, fixed to the table; point "top" is the middle of its upper side."""
    builder = world.scene.create_actor_builder()
    look = _pick(world, COASTER_COLOURS)
    rim: Colour = (look[0] * 0.5, look[1] * 0.5, look[2] * 0.5)
    add_cylinder(builder, 0.05, 0.003, material(rim), world.friction, height=0.003)
    add_cylinder(builder, 0.042, 0.003, material(look), None, height=0.0032)
    made = world.add("coaster", builder, upright(position), static=True)
    made.points["top"] = np.array([0.0, 0.0, 0.006])
    return made

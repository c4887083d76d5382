"""Bell and hammer."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.parts import draw
from envs.tabletop.scene import Body, Colour, Tabletop, add_cylinder, material

METALS: tuple[Colour, ...] = ((0.85, 0.65, 0.2), (0.75, 0.76, 0.8), (0.8, 0.25, 0.2))
HANDLES: dict[str, Colour] = {"wooden": (0.75, 0.5, 0.25), "red": (0.85, 0.2, 0.15), "blue": (0.15, 0.35, 0.75)}

HANDLE_WIDTH = 0.022  # m, the hammer's handle
HAMMER_MASS = 0.03  # kg; light, as in RoboTwin, and all of it in the head, so that the hammer stands on its face


def bell(scene: Tabletop, pose: sapien.Pose, name: str = "bell") -> Body:
    """A desk bell, fixed to the table: foot, dome and button; point "top" is the middle of its button."""
    scale = (1.0, 0.85)[int(scene.rng.integers(2))]
    builder = scene.physics.create_actor_builder()
    add_cylinder(builder, 0.044 * scale, 0.005, material((0.1, 0.1, 0.1)), scene.friction, height=0.005)
    dome = sapien.Pose([0, 0, 0.01])
    builder.add_sphere_visual(dome, 0.036 * scale, material(draw(scene, METALS), roughness=0.25))
    builder.add_sphere_collision(dome, 0.036 * scale, scene.friction)
    top = 0.01 + 0.036 * scale
    add_cylinder(builder, 0.009, 0.006, material((0.95, 0.95, 0.95)), scene.friction, height=top + 0.005)
    made = scene.add(name, builder, pose, static=True)
    made.points["top"] = np.array([0.0, 0.0, top + 0.011])
    return made


def hammer(scene: Tabletop, pose: sapien.Pose, name: str = "hammer") -> Body:
    """A hammer that stands on its striking face, the handle lying level towards -y of its own frame.

    Points: "face", the middle of the striking face; "grip", where the handle is held.
    """
    scale, length, colour = draw(scene, (1.0, 0.9)), draw(scene, (0.15, 0.165, 0.18)), draw(scene, tuple(HANDLES))
    steel, handle = material((0.22, 0.23, 0.26), 0.3), material(HANDLES[colour])
    middle = 0.042 * scale  # m, height of the handle above the striking face
    builder = scene.physics.create_actor_builder()
    add_cylinder(builder, 0.026 * scale, 0.016, steel, scene.friction, height=0.016)
    half = (0.016 * scale, 0.016 * scale, 0.024 * scale)
    builder.add_box_visual(sapien.Pose([0, 0, middle]), half, steel)
    builder.add_box_collision(sapien.Pose([0, 0, middle]), half, scene.friction)
    add_cylinder(builder, 0.022 * scale, 0.009, steel, scene.friction, height=2 * middle - 0.009)
    half = (HANDLE_WIDTH / 2, length / 2, HANDLE_WIDTH / 2)
    centre = sapien.Pose([0, -length / 2 - half[0] / 2, middle])
    builder.add_box_visual(centre, half, handle)
    builder.add_box_collision(centre, half, scene.friction)
    builder.set_mass_and_inertia(HAMMER_MASS, sapien.Pose([0, -0.004, middle]), [1e-4, 1e-4, 1e-4])
    made = scene.add(name, builder, pose)
    made.points["face"] = np.zeros(3)
    made.points["grip"] = np.array([0.0, -0.68 * length, middle])
    made.colour = colour
    return made

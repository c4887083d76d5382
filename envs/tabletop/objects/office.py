"""Things of a desk and a shelf: stapler, tea box."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.parts import DARK, PALETTE, STEEL, Parts, draw, points, shade
from envs.tabletop.scene import Body, Tabletop


def stapler(world: Tabletop, pose: sapien.Pose, name: str = "stapler", static: bool = False) -> Body:
    """A stapler, long along x, its mouth towards +x.

    Points: "top", where it is pressed; "grip", on its middle, held from above by fingers that close along y.
    """
    length, width = draw(world, (0.12, 0.135, 0.15)), draw(world, (0.03, 0.034))
    colour = draw(world, ("black", "red", "blue", "grey", "teal"))
    look = PALETTE[colour]
    half, tilt = length / 2, 0.12  # rad, by which the upper half gapes
    gape = sapien.Pose(q=[np.cos(tilt / 2), 0, -np.sin(tilt / 2), 0])
    parts = Parts(world)
    parts.box((half, width / 2, 0.004), [0, 0, 0.004], DARK)
    parts.box((0.012, width / 2, 0.012), [-half + 0.012, 0, 0.018], shade(look, 0.7))
    parts.box((half - 0.004, 0.4 * width, 0.004), [0.002, 0, 0.027], STEEL, gape)
    parts.box((half, width / 2, 0.008), [0, 0, 0.039], look, gape)
    parts.cylinder(width / 2, 0.016, [0.98 * half, 0, 0.032 + tilt * half], look)
    parts.box((0.4 * half, 0.3 * width, 0.001), [0, 0, 0.048], shade(look, 1.6), gape, solid=False)
    made = parts.build(name, pose, static)
    made.points = points(top=[0.7 * half, 0, 0.048 + 0.7 * tilt * half], grip=[-0.1 * half, 0, 0.034])
    made.width, made.colour = width, colour
    return made


def tea_box(world: Tabletop, pose: sapien.Pose, name: str = "tea_box") -> Body:
    """A small carton with a label, long along x. Points: "grip", in its middle; "top"."""
    half = (draw(world, (0.035, 0.042)), draw(world, (0.02, 0.025)), draw(world, (0.018, 0.024)))
    colour = draw(world, ("green", "orange", "red", "purple", "blue", "yellow"))
    look = PALETTE[colour]
    parts = Parts(world)
    parts.box(half, [0, 0, half[2]], look)
    parts.box((0.6 * half[0], 0.6 * half[1], 0.0005), [0, 0, 2 * half[2]], PALETTE["white"], solid=False)
    parts.box((0.6 * half[0], half[1] + 0.0005, 0.4 * half[2]), [0, 0, half[2]], shade(look, 0.5), solid=False)
    made = parts.build(name, pose)
    made.points = points(grip=[0, 0, half[2]], top=[0, 0, 2 * half[2]])
    made.width, made.colour = 2 * half[1], colour
    return made

"""Laptop, microwave, cabinet with a drawer, switch: a fixed base and one moving part (`Articulated`)."""

from __future__ import annotations

from typing import Any

import sapien

from envs.tabletop.objects.parts import DARK, PALETTE, STEEL, WOOD, Parts, draw, points, shade
from envs.tabletop.scene import Articulated, Tabletop

HANDLE = 0.014  # m, thickness of a bar handle
LEVER = 0.016  # m, thickness of a switch's lever


def _two(scene: Tabletop) -> tuple[Any, Parts, Parts]:
    """An articulation builder, and the parts of its base and of its moving link."""
    builder = scene.physics.create_articulation_builder()
    base = builder.create_link_builder()
    return builder, Parts(scene, base), Parts(scene, builder.create_link_builder(base))


def laptop(scene: Tabletop, pose: sapien.Pose, opened: float = 0.2, name: str = "laptop") -> Articulated:
    """A laptop, its front towards -y; the lid's hinge is at the back, travel 2.2 rad.

    Points of the link "lid": "edge", the middle of its front edge; "inner", 1 cm from that edge on the screen side.
    """
    width, depth = draw(scene, (0.25, 0.27, 0.29)), draw(scene, (0.17, 0.185))
    colour = draw(scene, ("grey", "black", "white", "blue"))
    look = STEEL if colour == "grey" else PALETTE[colour]
    builder, base, lid = _two(scene)
    x, y, z = width / 2, depth / 2, 0.016
    base.box((x, y, z / 2), [0, 0, z / 2], shade(look, 0.9))
    base.box((0.9 * x, 0.42 * y, 0.0005), [0, 0.36 * y, z], DARK, solid=False)
    for row in range(4):  # keys
        for key in range(10):
            at = [(key - 4.5) * 0.172 * x, (0.66 - 0.19 * row) * y, z + 0.0006]
            base.box((0.07 * x, 0.07 * y, 0.0005), at, (0.35, 0.35, 0.37), solid=False)
    base.box((0.28 * x, 0.24 * y, 0.0005), [0, -0.55 * y, z], shade(look, 0.65), solid=False)
    length, thick = depth - 0.006, 0.008
    lid.box((x, length / 2, thick / 2), [0, -length / 2, thick / 2], look)
    lid.box((0.93 * x, 0.44 * length, 0.0006), [0, -0.51 * length, -0.0002], draw(scene, SCREENS), solid=False)
    lid.cylinder(0.012, 0.0008, [0, -length / 2, thick], shade(look, 0.6), solid=False)
    hinge = (0.0, y - 0.004, z + 0.001)
    made = scene.add_articulated(name, "lid", builder, pose, "revolute", hinge, (-1, 0, 0), 2.2, opened)
    made.link.points = points(edge=[0, -length, thick / 2], inner=[0, -length + 0.01, 0])
    made.colour = colour
    return made


SCREENS = ((0.25, 0.55, 0.9), (0.35, 0.75, 0.65), (0.75, 0.6, 0.9))


def microwave(scene: Tabletop, pose: sapien.Pose, opened: float = 0.0, name: str = "microwave") -> Articulated:
    """A microwave oven, its front towards -y; the door's hinge is at the left, travel 1.7 rad.

    Points of the base: "inside". Points of the link "door": "grip", the middle of its upright handle, which fingers
    hold that close along x; "edge", the free edge on the inner side.
    """
    width, depth, height = draw(scene, (0.3, 0.33)), draw(scene, (0.18, 0.2)), draw(scene, (0.17, 0.19))
    colour = draw(scene, ("white", "grey", "black", "red"))
    look = PALETTE[colour]
    builder, base, door = _two(scene)
    x, y, t = width / 2, depth / 2, 0.006
    for z in (t, height - t):
        base.box((x, y, t), [0, 0, z], look)
    base.box((x, t, height / 2), [0, y - t, height / 2], look)
    base.box((t, y, height / 2), [-x + t, 0, height / 2], look)
    panel = 0.13 * width  # half width of the block with the controls
    base.box((panel, y, height / 2), [x - panel, 0, height / 2], look)
    base.box((0.8 * panel, 0.001, 0.1 * height), [x - panel, -y, 0.8 * height], (0.1, 0.5, 0.35), solid=False)
    for row in range(3):
        for column in (-1, 0, 1):
            at = [x - panel + 0.5 * column * panel, -y, (0.55 - 0.14 * row) * height]
            base.box((0.18 * panel, 0.0015, 0.045 * height), at, shade(look, 0.45), solid=False)
    base.box((x - panel - t, 0.001, height / 2 - t), [-panel, y - 2 * t, height / 2], (0.3, 0.3, 0.3), solid=False)
    span = width - 2 * panel - 0.002
    door.box((span / 2, t, height / 2), [span / 2, 0, 0], shade(look, 0.85))
    door.box((0.36 * span, t + 0.001, 0.34 * height), [0.45 * span, 0, 0], DARK, solid=False)
    grip = [span - 0.018, -0.042, 0]
    door.rod([[grip[0], grip[1], -0.05], [grip[0], grip[1], 0.05]], HANDLE / 2, STEEL)
    for z in (-0.045, 0.045):
        door.rod([[grip[0], 0, z], [grip[0], grip[1], z]], 0.005, STEEL)
    hinge = (-x, -y - t - 0.001, height / 2)
    made = scene.add_articulated(name, "door", builder, pose, "revolute", hinge, (0, 0, -1), 1.7, opened)
    made.points = points(inside=[-panel, 0, 2 * t])
    made.link.points, made.link.width = points(grip=grip, edge=[span - 0.01, t, 0]), HANDLE
    made.colour = colour
    return made


def cabinet(scene: Tabletop, pose: sapien.Pose, opened: float = 0.0, name: str = "cabinet") -> Articulated:
    """A small cabinet, its front towards -y, whose upper drawer slides out, travel 0.2 m.

    Points of the link "drawer": "grip", the middle of its level bar handle; "inside", on its floor, where it is free
    when open.
    """
    width, depth = draw(scene, (0.24, 0.26, 0.28)), 0.24
    colour = draw(scene, ("wooden", "brown", "white", "teal"))
    look = WOOD if colour == "wooden" else PALETTE[colour]
    builder, base, drawer = _two(scene)
    x, y, t, low = width / 2, depth / 2, 0.006, draw(scene, (0.062, 0.07))
    height = low + 0.095
    base.box((x, y, low / 2), [0, 0, low / 2], shade(look, 0.8))
    base.box((x, y, t), [0, 0, height - t], look)
    base.box((x, t, height / 2), [0, y - t, height / 2], shade(look, 0.7))
    for sign in (-1, 1):
        base.box((t, y, height / 2 - 0.001), [sign * (x - t), 0, height / 2], shade(look, 0.8))
    base.box((0.88 * x, 0.002, 0.4 * low), [0, -y - 0.001, low / 2], look, solid=False)
    base.rod([[-0.03, -y - 0.01, low / 2], [0.03, -y - 0.01, low / 2]], 0.005, STEEL, solid=False)
    half, tall = (x - 2 * t - 0.002, y - t - 0.002), height - low - 2 * t - 0.006
    drawer.tub(half, tall - 0.02, 0.006, shade(look, 1.15), at=[0, y - t, 0])
    drawer.box((x - 0.002, 0.005, tall / 2 + 0.004), [0, -0.006, tall / 2], shade(look, 1.1))
    bar = 0.045
    drawer.rod([[-bar, -0.042, tall / 2], [bar, -0.042, tall / 2]], HANDLE / 2, STEEL)
    for sign in (-1, 1):
        drawer.rod([[sign * bar, -0.005, tall / 2], [sign * bar, -0.042, tall / 2]], 0.005, STEEL)
    hinge = (0.0, -y - 0.001, low + 0.002)
    made = scene.add_articulated(name, "drawer", builder, pose, "prismatic", hinge, (0, -1, 0), 0.2, opened)
    made.link.points = points(grip=[0, -0.042, tall / 2], inside=[0, 0.085, 0.006])
    made.link.width, made.colour = HANDLE, colour
    return made


def switch(scene: Tabletop, pose: sapien.Pose, name: str = "switch") -> Articulated:
    """A switch on a stand, its plate towards -y; the lever begins up and is turned down, travel 1.0 rad.

    Points of the link "lever": "tip", the end of the lever.
    """
    rise, length = draw(scene, (0.075, 0.085, 0.095)), draw(scene, (0.045, 0.05))
    colour = draw(scene, ("white", "grey", "yellow", "teal"))
    look = PALETTE[colour]
    builder, base, lever = _two(scene)
    base.box((0.05, 0.035, 0.006), [0, 0.015, 0.006], DARK)
    base.box((0.014, 0.008, rise / 2), [0, 0.016, rise / 2], DARK)
    base.box((0.036, 0.008, 0.05), [0, 0, rise], look)
    base.box((0.012, 0.009, 0.03), [0, 0, rise], shade(look, 0.4), solid=False)
    for sign in (-1, 1):
        base.cylinder(0.004, 0.001, [0, -0.008, rise + sign * 0.041], STEEL, axis=(0, -1, 0), solid=False)
    y, z = -length * 0.87, length * 0.5  # 0.52 rad above the level
    lever.rod([[0, 0, 0], [0, y, z]], LEVER / 2, PALETTE["red"])
    lever.sphere(0.011, [0, y, z], PALETTE["red"])
    made = scene.add_articulated(name, "lever", builder, pose, "revolute", (0, -0.006, rise), (1, 0, 0), 1.0, 0.0)
    made.link.points = points(tip=[0, y, z])
    made.colour = colour
    return made

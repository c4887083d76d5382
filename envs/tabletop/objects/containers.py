"""Pots, pans, baskets, bins and boxes."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.parts import DARK, PALETTE, STEEL, WOOD, Parts, draw, shade
from envs.tabletop.scene import Body, Tabletop

EAR = 0.016  # m, thickness of a pot's ears
WALL = 0.008  # m
PEG, RISE = 0.005, 0.2  # m, radius of a mug rack's peg; rad, by which it rises towards its tip
WICKER = ((0.75, 0.55, 0.32), (0.6, 0.4, 0.22), (0.85, 0.7, 0.48))


def pot(scene: Tabletop, pose: sapien.Pose, name: str = "pot") -> Body:
    """A cooking pot with two ears along x.

    Points: "left" (-x) and "right" (+x), the middles of the flat ears, held by fingers above and below;
    "inside", on its floor; "lid", the middle of its opening.
    """
    radius, height = draw(scene, (0.085, 0.095)), draw(scene, (0.08, 0.1))
    colour = draw(scene, ("grey", "red", "black", "teal"))
    look = STEEL if colour == "grey" else PALETTE[colour]
    parts = Parts(scene, density=150)
    parts.disc(radius - 0.002, 0.006, 0.0, shade(look, 0.5))
    parts.wall((radius, 0.0), (radius, height), 0.006, look, sides=20)
    parts.wall((radius + 0.003, height - 0.008), (radius + 0.003, height), 0.008, shade(look, 1.2), sides=20)
    ear, z = radius + 0.02, height - 0.018
    for sign in (-1, 1):
        parts.box((0.022, 0.011, EAR / 2), [sign * ear, 0, z], DARK)
    return parts.build(
        name,
        pose,
        colour=colour,
        width=EAR,
        left=[-ear - 0.003, 0, z],
        right=[ear + 0.003, 0, z],
        inside=[0, 0, 0.006],
        lid=[0, 0, height],
    )


def skillet(scene: Tabletop, pose: sapien.Pose, name: str = "skillet") -> Body:
    """A frying pan, the handle towards +x. Points: "grip", on the handle; "inside", on its floor."""
    radius, length = draw(scene, (0.075, 0.085)), draw(scene, (0.12, 0.14))
    colour = draw(scene, ("black", "grey", "red"))
    look = PALETTE[colour]
    parts = Parts(scene, density=150)
    parts.disc(0.85 * radius, 0.006, 0.0, DARK)
    parts.wall((0.85 * radius, 0.0), (radius, 0.032), 0.005, look, sides=20)
    middle = radius + length / 2 - 0.006
    parts.box((length / 2, 0.01, 0.008), [middle, 0, 0.026], draw(scene, (DARK, WOOD, PALETTE["brown"])))
    return parts.build(
        name, pose, colour=colour, width=0.02, grip=[radius + 0.55 * length, 0, 0.026], inside=[0, 0, 0.006]
    )


def bread_basket(scene: Tabletop, pose: sapien.Pose, name: str = "bread_basket") -> Body:
    """A low wicker basket, open above. Points: "inside", on its floor; "edge", above it at the height of its edge."""
    parts = Parts(scene)
    half, height = (draw(scene, (0.1, 0.115)), draw(scene, (0.075, 0.085))), draw(scene, (0.045, 0.055))
    _wicker(parts, half, height)
    return parts.build(name, pose, colour="brown", inside=[0, 0, 0.006], edge=[0, 0, height])


def basket(scene: Tabletop, pose: sapien.Pose, name: str = "basket") -> Body:
    """A wicker basket with an arch over its back half, along x.

    Points: "grip", the top of the arch; "inside", on its floor in front of the arch.
    """
    parts = Parts(scene)
    (x, y), height = (draw(scene, (0.085, 0.095)), 0.08), draw(scene, (0.06, 0.07))
    look, top = _wicker(parts, (x, y), height), height + 0.1
    angles = np.linspace(np.pi, 0, 9)
    arch = [[(x - 0.004) * np.cos(a), 0.035, height - 0.01 + (top - height) * np.sin(a)] for a in angles]
    parts.rod(arch, 0.007, shade(look, 0.8))
    return parts.build(name, pose, colour="brown", width=0.014, grip=[0, 0.035, top - 0.01], inside=[0, -0.024, 0.006])


def _wicker(parts: Parts, half: tuple[float, float], height: float) -> tuple[float, float, float]:
    """An open box with bands of two shades, as of plaited wicker; returns its colour."""
    look = draw(parts.scene, WICKER)
    parts.tub(half, height, WALL, look)
    (x, y), bands = half, 4
    for band in range(bands):
        z, size = (band + 0.5) * height / bands, 0.22 * height / bands
        for sign in (-1, 1):
            parts.box((x + 0.001, 0.001, size), [0, sign * y, z], shade(look, 0.6), solid=False)
            parts.box((0.001, y + 0.001, size), [sign * x, 0, z], shade(look, 0.6), solid=False)
    for column in range(-3, 4):  # and its plaited floor
        for row in range(-3, 4):
            at = [column * x / 3.8, row * y / 3.8, WALL]
            flat = (0.11 * x, 0.04 * y) if (column + row) % 2 else (0.04 * x, 0.11 * y)
            parts.box((*flat, 0.0004), at, shade(look, 0.55), solid=False)
    return look


def bin(scene: Tabletop, pose: sapien.Pose, name: str = "bin") -> Body:
    """A small round waste bin, wider above. Points: "rim", on its wall towards +x; "inside", on its floor."""
    radius, height = draw(scene, (0.05, 0.056)), draw(scene, (0.11, 0.125))
    colour = draw(scene, ("grey", "blue", "green", "black", "white"))
    look = PALETTE[colour]
    parts = Parts(scene, density=150)
    parts.disc(0.75 * radius, 0.006, 0.0, shade(look, 0.5))
    parts.wall((0.78 * radius, 0.0), (radius, height), WALL, look)
    parts.wall((radius + 0.003, height - 0.01), (radius + 0.003, height), WALL, shade(look, 0.7))
    return parts.build(
        name, pose, colour=colour, width=WALL + 0.003, rim=[radius - WALL / 2, 0, height - 0.014], inside=[0, 0, 0.006]
    )


def plastic_box(scene: Tabletop, pose: sapien.Pose, name: str = "plastic_box", static: bool = False) -> Body:
    """An open storage box, long along x. Points: "inside", on its floor; "left" and "right", the halves of it."""
    half, height = (draw(scene, (0.12, 0.135)), draw(scene, (0.075, 0.085))), draw(scene, (0.05, 0.065))
    colour = draw(scene, ("blue", "green", "white", "orange", "purple"))
    look = PALETTE[colour]
    parts = Parts(scene)
    parts.tub(half, height, 0.005, look)
    for sign in (-1, 1):  # a rim that juts out
        parts.box((half[0] + 0.006, 0.005, 0.004), [0, sign * (half[1] + 0.002), height - 0.004], shade(look, 0.75))
        parts.box((0.005, half[1] + 0.006, 0.004), [sign * (half[0] + 0.002), 0, height - 0.004], shade(look, 0.75))
    x = half[0] / 2
    return parts.build(
        name, pose, static, colour=colour, inside=[0, 0, 0.005], left=[-x, 0, 0.005], right=[x, 0, 0.005]
    )


def dustbin(scene: Tabletop, pose: sapien.Pose, name: str = "dustbin", static: bool = True) -> Body:
    """A tall open dustbin, long along y, a little lower than the table. Points: "inside", on its floor; "mouth"."""
    half, height = (draw(scene, (0.13, 0.138)), draw(scene, (0.18, 0.2))), draw(scene, (0.64, 0.67))
    colour = draw(scene, ("grey", "green", "blue", "black"))
    look, parts = PALETTE[colour], Parts(scene)
    parts.tub(half, height, 0.01, look)
    parts.box((half[0] - 0.005, half[1] - 0.005, 0.02), [0, 0, 0.1], shade(look, 0.4))  # the floor
    for sign in (-1, 1):  # dark inside, so that from above it is seen to be open
        (x, y), z = (half[0] - 0.01, half[1] - 0.01), height / 2 - 0.01
        parts.box((0.001, y, z), [sign * x, 0, z], DARK, solid=False)
        parts.box((x, 0.001, z), [0, sign * y, z], DARK, solid=False)
    for sign in (-1, 1):
        parts.box((0.006, half[1] + 0.006, 0.012), [sign * half[0], 0, height - 0.012], shade(look, 0.7))
        parts.box((half[0] + 0.006, 0.006, 0.012), [0, sign * half[1], height - 0.012], shade(look, 0.7))
    return parts.build(
        name, pose, static, colour=colour, inside=[0, 0, 0.12], mouth=[0, 0, height], corner=[*half, height]
    )


def mug_rack(scene: Tabletop, pose: sapien.Pose, name: str = "mug_rack", static: bool = True) -> Body:
    """A mug tree with one long peg towards +y of its own frame that rises a little, and a short one the other way.

    Points: "root" and "tip", the ends of the long peg; "peg", on its axis, where a mug hangs.
    """
    height, length = draw(scene, (0.2, 0.215)), 0.1
    colour = draw(scene, ("wooden", "black", "white", "brown"))
    look, parts = WOOD if colour == "wooden" else PALETTE[colour], Parts(scene)
    parts.disc(0.055, 0.014, 0.0, shade(look, 0.85))
    parts.cylinder(0.008, height, [0, 0, 0.0], look)
    parts.sphere(0.011, [0, 0, height], shade(look, 0.8))
    low, way = height - 0.03, np.array([0, np.cos(RISE), np.sin(RISE)])
    root = np.array([0, 0, low])
    parts.rod([root, root + length * way], PEG, look)
    parts.rod([root - [0, 0, 0.04], root - [0, 0.035, 0.02]], PEG, look)
    return parts.build(name, pose, static, colour=colour, root=root, peg=root + 0.056 * way, tip=root + length * way)

"""Bread, hamburger, French fries and tray."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.parts import PALETTE, Parts, draw, shade
from envs.tabletop.scene import Body, Colour, Tabletop

LIGHT = 120.0  # kg/m3
CRUSTS: dict[str, Colour] = {"brown": (0.66, 0.4, 0.17), "golden": (0.87, 0.6, 0.25), "dark": (0.42, 0.25, 0.12)}


def bread(scene: Tabletop, pose: sapien.Pose, name: str = "bread") -> Body:
    """A roll, a loaf or a piece of toast, long along x. Points: "grip", in its middle; "top"."""
    length, width = draw(scene, (0.07, 0.078, 0.086)), draw(scene, (0.042, 0.048))
    height, kind = draw(scene, (0.034, 0.04)), draw(scene, ("roll", "loaf", "toast"))
    colour = draw(scene, tuple(CRUSTS))
    look = CRUSTS[colour]
    x, y, parts = length / 2, width / 2, Parts(scene, density=LIGHT)
    if kind == "toast":
        parts.box((x, y, height / 2), [0, 0, height / 2], look)
        parts.box((0.88 * x, 0.86 * y, 0.001), [0, 0, height], (0.95, 0.85, 0.62), solid=False)
    else:
        low = 0.55 * height
        parts.box((x, y, low / 2), [0, 0, low / 2], look)
        for step, share in enumerate((0.86, 0.62)):  # the rounded top
            rise = (height - low) / 2
            parts.box((share * x + 0.1 * x, share * y, rise / 2), [0, 0, low + (step + 0.5) * rise], look)
        cuts = 4 if kind == "loaf" else 2
        for cut in range(cuts):
            at = [(cut - (cuts - 1) / 2) * 1.5 * x / cuts, 0, height]
            turn = sapien.Pose(q=[np.cos(0.25), 0, 0, np.sin(0.25)])
            parts.box((0.003, 0.5 * y, 0.0012), at, (0.96, 0.85, 0.6), turn, solid=False)
    return parts.build(name, pose, colour=colour, width=width, grip=[0, 0, 0.021], top=[0, 0, height])


def burger(scene: Tabletop, pose: sapien.Pose, name: str = "burger") -> Body:
    """A hamburger. Points: "grip", on its axis; "top"."""
    radius, height = draw(scene, (0.031, 0.034)), draw(scene, (0.05, 0.056))
    colour = draw(scene, tuple(CRUSTS))
    look, parts = CRUSTS[colour], Parts(scene, density=LIGHT)
    bun, at = 0.28 * height, 0.0
    parts.cylinder(0.97 * radius, bun, [0, 0, 0], look)
    at += bun
    for share, tall, filling in ((1.0, 0.16, (0.3, 0.16, 0.09)), (1.03, 0.06, (0.95, 0.75, 0.2)), (1.06, 0.06, GREEN)):
        parts.cylinder(share * radius, tall * height, [0, 0, at], filling, solid=False)
        at += tall * height
    parts.cylinder(radius, at - bun, [0, 0, bun], look)
    for share in (0.97, 0.8, 0.55):  # the domed upper half
        parts.cylinder(share * radius, (height - bun - 0.28 * height) / 3, [0, 0, at], look)
        at += (height - bun - 0.28 * height) / 3
    for seed in range(7):
        place = [0.42 * radius * np.cos(0.9 * seed), 0.42 * radius * np.sin(0.9 * seed), at]
        parts.box((0.0025, 0.0015, 0.001), place, (0.97, 0.92, 0.75), solid=False)
    return parts.build(name, pose, colour=colour, width=2 * radius, grip=[0, 0, 0.024], top=[0, 0, at])


GREEN: Colour = (0.35, 0.65, 0.2)


def fries(scene: Tabletop, pose: sapien.Pose, name: str = "fries") -> Body:
    """French fries in a carton, wide along x. Points: "grip", in the carton's middle; "top"."""
    half, height = (draw(scene, (0.03, 0.034)), draw(scene, (0.018, 0.021))), draw(scene, (0.06, 0.068))
    colour = draw(scene, ("red", "white", "yellow", "blue"))
    look, parts = PALETTE[colour], Parts(scene, density=LIGHT)
    (x, y), fry = half, (0.96, 0.8, 0.35)
    parts.box((x, y, height / 2), [0, 0, height / 2], look)
    band = shade(PALETTE["white"], 1.0) if colour != "white" else PALETTE["red"]
    parts.box((0.35 * x, y + 0.0008, 0.2 * height), [0, 0, 0.45 * height], band, solid=False)
    for row in (-1, 1):
        for i in range(5):
            tall = 0.013 + 0.009 * ((3 * i + row + 1) % 4) / 3
            at = [(i - 2) * 0.38 * x, row * 0.42 * y, height + tall / 2]
            parts.box((0.0035, 0.0035, tall / 2), at, shade(fry, 1 - 0.06 * (i % 2)))
    return parts.build(name, pose, colour=colour, width=2 * y, grip=[0, 0, 0.85 * height], top=[0, 0, height + 0.02])


def tray(scene: Tabletop, pose: sapien.Pose, name: str = "tray", static: bool = True) -> Body:
    """A serving tray, long along x. Points: "left" and "right", the halves of its floor; "inside", its middle."""
    half = (draw(scene, (0.14, 0.155)), draw(scene, (0.095, 0.105)))
    colour = draw(scene, ("red", "brown", "blue", "grey", "green"))
    parts = Parts(scene)
    parts.tub(half, 0.016, 0.006, PALETTE[colour])
    parts.box((0.86 * half[0], 0.82 * half[1], 0.0004), [0, 0, 0.006], shade(PALETTE[colour], 1.35), solid=False)
    return parts.build(
        name,
        pose,
        static,
        colour=colour,
        left=[-half[0] / 2, 0, 0.006],
        right=[half[0] / 2, 0, 0.006],
        inside=[0, 0, 0.006],
    )

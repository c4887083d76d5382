"""Handheld objects: roller, microphone, shoe and its box, pill bottle, pads, scanner, carton, bottles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sapien

from envs.tabletop.objects.parts import DARK, PALETTE, STEEL, WOOD, Parts, draw, shade
from envs.tabletop.objects.tableware import bottle
from envs.tabletop.scene import Body, Colour, Tabletop

WOODS = {"wooden": WOOD, "brown": PALETTE["brown"], "white": PALETTE["white"], "pink": PALETTE["pink"]}
SOLES: tuple[Colour, ...] = (PALETTE["white"], (0.55, 0.4, 0.25))


def roller(scene: Tabletop, pose: sapien.Pose, name: str = "roller") -> Body:
    """A rolling pin that lies along x. Points: "left" (-x) and "right" (+x), the middles of its handles."""
    radius, half, reach = draw(scene, (0.025, 0.028)), draw(scene, (0.095, 0.105, 0.115)), 0.062
    colour = draw(scene, tuple(WOODS))
    look, grip = WOODS[colour], draw(scene, ("red", "blue", "black", "green"))
    parts = Parts(scene)
    parts.cylinder(radius, 2 * half, [-half, 0, radius], look, axis=(1, 0, 0))
    for sign in (-1, 1):
        end = sign * half
        parts.cylinder(0.8 * radius, 0.0006, [end, 0, radius], shade(look, 0.7), axis=(sign, 0, 0), solid=False)
        parts.cylinder(0.011, reach, [end, 0, radius], PALETTE[grip], axis=(sign, 0, 0))
        parts.sphere(0.012, [end + sign * reach, 0, radius], PALETTE[grip])
    middle = half + 0.033
    return parts.build(name, pose, colour=colour, width=0.022, left=[-middle, 0, radius], right=[middle, 0, radius])


def microphone(scene: Tabletop, pose: sapien.Pose, name: str = "microphone") -> Body:
    """A microphone that lies along x, its head towards +x. Points on its handle: "tail" and "neck"; "head"."""
    back, front, head = draw(scene, (0.09, 0.1)), draw(scene, (0.05, 0.055)), draw(scene, (0.022, 0.024))
    colour = draw(scene, ("black", "grey", "blue", "red", "purple"))
    look, band = PALETTE[colour], draw(scene, (PALETTE["yellow"], PALETTE["teal"], PALETTE["white"]))
    parts = Parts(scene)
    parts.cylinder(0.0125, back + front, [-back, 0, head], look, axis=(1, 0, 0))
    parts.cylinder(head - 0.003, 0.012, [-back, 0, head], band, axis=(1, 0, 0))
    parts.box((0.008, 0.004, 0.0015), [0.0, 0, head + 0.0125], band, solid=False)
    parts.cylinder(0.017, 0.01, [front - 0.008, 0, head], shade(look, 0.7), axis=(1, 0, 0))
    parts.cylinder(head + 0.0008, 0.006, [front + 0.012, 0, head], DARK, axis=(1, 0, 0), solid=False)
    parts.sphere(head, [front + 0.016, 0, head], STEEL)
    return parts.build(
        name,
        pose,
        colour=colour,
        width=0.025,
        tail=[-back + 0.028, 0, head],
        neck=[0.03, 0, head],
        head=[front + 0.016, 0, head],
    )


@dataclass(frozen=True)
class ShoeLook:
    """What both shoes of a pair share."""

    length: float  # m
    width: float  # m
    colour: str
    sole: Colour


def shoe_look(scene: Tabletop) -> ShoeLook:
    """Draws the looks of a shoe."""
    colour = draw(scene, ("red", "blue", "teal", "orange", "purple", "black", "pink"))
    return ShoeLook(draw(scene, (0.155, 0.17)), draw(scene, (0.056, 0.062)), colour, draw(scene, SOLES))


def shoe(scene: Tabletop, pose: sapien.Pose, name: str = "shoe", like: ShoeLook | None = None) -> Body:
    """A high shoe, its toe towards +x. Points: "grip", on its shaft; "toe". `like` makes one of a pair."""
    drawn = like or shoe_look(scene)
    length, width, colour, sole, thick = drawn.length, drawn.width, drawn.colour, drawn.sole, 0.012
    look, x, y = PALETTE[colour], length / 2, width / 2
    shaft, height = 0.022, 0.088
    parts = Parts(scene)
    parts.box((x - 0.7 * y, y, thick / 2), [-0.7 * y, 0, thick / 2], sole)
    parts.cylinder(y, thick, [x - y, 0, 0], sole)
    parts.box((0.5 * x, 0.9 * y, 0.016), [0.1 * x, 0, thick + 0.016], look)
    parts.cylinder(0.9 * y, 0.03, [x - y, 0, thick], shade(look, 0.8))
    parts.box((0.042, shaft, (height - thick) / 2), [-x + 0.05, 0, (height + thick) / 2], look)
    parts.box((0.034, 0.7 * shaft, 0.0008), [-x + 0.05, 0, height], DARK, solid=False)
    lean, foot = 0.75, -x + 0.092  # rad, m: the tongue, from the shaft down to the toe
    tilt = sapien.Pose(q=[np.cos(lean / 2), 0, np.sin(lean / 2), 0])
    parts.box((0.024, 0.8 * shaft, 0.008), [foot + 0.008, 0, 0.056], PALETTE["white"], tilt)
    for step in range(4):  # laces
        at = [foot - 0.004 + 0.011 * step, 0, 0.075 - 0.0102 * step]
        parts.box((0.0018, 0.8 * shaft, 0.001), at, sole if sole != PALETTE["white"] else DARK, tilt, solid=False)
    for sign in (-1, 1):
        parts.box((0.018, 0.001, 0.004), [-x + 0.045, sign * shaft, 0.045], PALETTE["white"], tilt, solid=False)
    return parts.build(name, pose, colour=colour, width=2 * shaft, grip=[-x + 0.052, 0, 0.068], toe=[x, 0, thick])


def shoe_box(scene: Tabletop, pose: sapien.Pose, name: str = "shoe_box", static: bool = False) -> Body:
    """An open box for a pair of shoes, long along x. Points on its floor: "front" and "back", one for each shoe."""
    half = (draw(scene, (0.115, 0.12)), draw(scene, (0.092, 0.096)))
    colour = draw(scene, ("brown", "orange", "white", "grey", "green"))
    look, (x, y), height = PALETTE[colour], half, 0.046
    parts = Parts(scene)
    parts.tub(half, height, 0.005, look)
    parts.box((0.3 * x, 0.0006, 0.3 * height), [-0.5 * x, -y, 0.5 * height], PALETTE["white"], solid=False)
    parts.box((0.2 * x, 0.0008, 0.08 * height), [-0.5 * x, -y, 0.5 * height], DARK, solid=False)
    for side in (-1, 1):  # tissue paper
        parts.box((0.004, y - 0.008, 0.001), [side * (x - 0.012), 0, 0.006], PALETTE["white"], solid=False)
    return parts.build(
        name, pose, static, colour=colour, inside=[0, 0, 0.005], front=[0, -0.044, 0.005], back=[0, 0.044, 0.005]
    )


def pill_bottle(scene: Tabletop, pose: sapien.Pose, name: str = "pill_bottle") -> Body:
    """A small bottle of pills with a broad cap. Points: "grip" on its axis; "top" on its cap."""
    radius, body = draw(scene, (0.02, 0.0225, 0.025)), draw(scene, (0.05, 0.06))
    colour = draw(scene, ("orange", "white", "teal", "brown", "green"))
    look, cap = PALETTE[colour], draw(scene, (PALETTE["white"], PALETTE["red"], PALETTE["blue"]))
    parts = Parts(scene)
    parts.cylinder(radius, body, [0, 0, 0], look)
    label = PALETTE["white"] if colour != "white" else PALETTE["teal"]
    parts.cylinder(radius + 0.0006, 0.45 * body, [0, 0, 0.25 * body], label, solid=False)
    parts.cylinder(radius + 0.0009, 0.06 * body, [0, 0, 0.5 * body], DARK, solid=False)
    parts.cylinder(0.8 * radius, 0.004, [0, 0, body], look)
    parts.cylinder(radius, 0.017, [0, 0, body + 0.004], cap)
    return parts.build(name, pose, colour=colour, width=2 * radius, grip=[0, 0, 0.65 * body], top=[0, 0, body + 0.021])


PAD_COLOURS = ("blue", "green", "black", "purple", "red")


def square_pad(scene: Tabletop, pose: sapien.Pose, name: str = "pad") -> Body:
    """A thin square pad, fixed to the table. Point: "top", the middle of its upper side."""
    return _sheet((draw(scene, (0.04, 0.044)),) * 2, scene, pose, name)


def shoe_mat(scene: Tabletop, pose: sapien.Pose, name: str = "shoe_mat") -> Body:
    """A thin mat long along x, fixed to the table. Point: "top", the middle of its upper side."""
    return _sheet((draw(scene, (0.12, 0.13)), draw(scene, (0.05, 0.055))), scene, pose, name)


def _sheet(half: tuple[float, ...], scene: Tabletop, pose: sapien.Pose, name: str) -> Body:
    (x, y), colour, parts = half, draw(scene, PAD_COLOURS), Parts(scene)
    parts.box((x, y, 0.0005), [0, 0, 0.0005], PALETTE[colour])
    parts.box((x - 0.006, y - 0.006, 0.0002), [0, 0, 0.001], shade(PALETTE[colour], 1.3), solid=False)
    return parts.build(name, pose, static=True, colour=colour, top=[0, 0, 0.001])


def scanner(scene: Tabletop, pose: sapien.Pose, name: str = "scanner") -> Body:
    """A hand scanner that lies along x, its window towards +x. Points: "grip", on its handle; "window"."""
    back, wide = draw(scene, (0.075, 0.085)), draw(scene, (0.026, 0.03))
    colour = draw(scene, ("black", "grey", "yellow", "blue", "red"))
    look = PALETTE[colour]
    parts = Parts(scene)
    parts.box((back / 2, 0.0125, 0.013), [-back / 2, 0, 0.013], look)
    parts.box((0.012, 0.018, 0.015), [0.008, 0, 0.015], shade(look, 0.8))
    parts.box((0.02, wide, 0.019), [0.036, 0, 0.019], look)
    parts.box((0.003, wide + 0.003, 0.0205), [0.057, 0, 0.0205], DARK)
    parts.box((0.0006, 0.8 * wide, 0.01), [0.06, 0, 0.02], (0.85, 0.1, 0.12), solid=False)
    parts.box((0.01, 0.007, 0.001), [-0.008, 0, 0.026], PALETTE["orange"], solid=False)
    parts.box((0.012, 0.35 * wide, 0.0006), [0.036, 0, 0.038], (0.3, 0.9, 0.4), solid=False)
    parts.rod([[-back, 0, 0.008], [-back - 0.03, 0.012, 0.005]], 0.004, DARK, solid=False)
    return parts.build(
        name, pose, colour=colour, width=0.025, grip=[-0.45 * back - 0.008, 0, 0.015], window=[0.06, 0, 0.019]
    )


def carton(scene: Tabletop, pose: sapien.Pose, name: str = "carton") -> Body:
    """A carton with a bar code on both ends, long along x. Points: "grip", its middle; "left", "right", its ends."""
    half = (draw(scene, (0.036, 0.042)), draw(scene, (0.02, 0.025)), draw(scene, (0.021, 0.025)))
    colour = draw(scene, ("green", "orange", "red", "purple", "blue", "yellow"))
    look, (x, y, z) = PALETTE[colour], half
    parts = Parts(scene)
    parts.box(half, [0, 0, z], look)
    parts.box((0.55 * x, 0.7 * y, 0.0004), [0, 0, 2 * z], PALETTE["white"], solid=False)
    for bar in range(6):
        wide = (0.0018, 0.001, 0.0024)[bar % 3]
        parts.box((wide, 0.5 * y, 0.0004), [(bar - 2.5) * 0.18 * x, 0, 2 * z + 0.0002], DARK, solid=False)
    for sign in (-1, 1):
        parts.box((0.0004, 0.8 * y, 0.7 * z), [sign * x, 0, z], PALETTE["white"], solid=False)
        for bar in range(6):
            wide = (0.0012, 0.0007, 0.0016)[bar % 3]
            parts.box((0.0006, wide, 0.5 * z), [sign * x, (bar - 2.5) * 0.24 * y, z], DARK, solid=False)
    return parts.build(name, pose, colour=colour, width=2 * y, grip=[0, 0, z], left=[-x, 0, z], right=[x, 0, z])


def flask(scene: Tabletop, pose: sapien.Pose, name: str = "flask") -> Body:
    """A sports flask with a domed lid. Points: "grip" on its axis, as a bottle's; "top" on its lid."""
    radius, body = draw(scene, (0.03, 0.033)), draw(scene, (0.115, 0.13, 0.145))
    colour = draw(scene, ("grey", "teal", "pink", "blue", "orange", "white"))
    look, lid = PALETTE[colour], draw(scene, (DARK, PALETTE["white"] if colour != "white" else PALETTE["red"]))
    parts = Parts(scene)
    parts.cylinder(radius, body, [0, 0, 0], look)
    for z in (0.3, 0.62):
        parts.cylinder(radius + 0.0006, 0.006, [0, 0, z * body], shade(look, 0.6), solid=False)
    parts.cylinder(0.85 * radius, 0.012, [0, 0, body], shade(look, 0.8))
    parts.cylinder(0.75 * radius, 0.024, [0, 0, body + 0.012], lid)
    parts.sphere(0.35 * radius, [0, 0, body + 0.036], lid)
    return parts.build(
        name, pose, colour=colour, width=2 * radius, grip=[0, 0, 0.45 * body], top=[0, 0, body + 0.036 + 0.35 * radius]
    )


def sauce_bottle(scene: Tabletop, pose: sapien.Pose, name: str = "sauce_bottle") -> Body:
    """A squeeze bottle with a pointed nozzle. Points: "grip" on its axis, as a bottle's; "top", its nozzle."""
    radius, body = draw(scene, (0.025, 0.028)), draw(scene, (0.11, 0.125))
    colour = draw(scene, ("red", "yellow", "green", "brown"))
    look, nozzle = PALETTE[colour], draw(scene, (PALETTE["white"], PALETTE["red"]))
    parts = Parts(scene)
    parts.cylinder(radius, body, [0, 0, 0], look)
    parts.cylinder(radius + 0.0007, 0.4 * body, [0, 0, 0.3 * body], PALETTE["white"], solid=False)
    parts.cylinder(0.6 * radius, 0.0016, [0, -radius, 0.5 * body], look, axis=(0, 1, 0), solid=False)
    parts.cylinder(0.8 * radius, 0.012, [0, 0, body], nozzle)
    for step in range(4):
        parts.cylinder(0.011 - 0.0025 * step, 0.01, [0, 0, body + 0.012 + 0.01 * step], nozzle)
    return parts.build(name, pose, colour=colour, width=2 * radius, grip=[0, 0, 0.5 * body], top=[0, 0, body + 0.052])


BOTTLES: dict[str, Callable[..., Body]] = {"bottle": bottle, "flask": flask, "sauce bottle": sauce_bottle}

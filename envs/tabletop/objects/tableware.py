"""Cups, mugs, bowls, plates, bottles and cans."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.parts import DARK, PALETTE, Parts, draw, shade
from envs.tabletop.scene import Body, Colour, Tabletop, add_cylinder, material

CUP_COLOURS: tuple[Colour, ...] = (
    (0.95, 0.95, 0.92),
    (0.25, 0.45, 0.85),
    (0.9, 0.75, 0.2),
    (0.85, 0.35, 0.3),
)
COASTERS: dict[str, Colour] = {"brown": (0.45, 0.28, 0.14), "black": (0.2, 0.2, 0.22), "green": (0.15, 0.4, 0.3)}
CUP_COLOUR_NAMES = ("white", "blue", "yellow", "red")
CUP_SIDES, CUP_WALL = 12, 0.004  # m
BOWL_RADII, BOWL_HEIGHTS = (0.058, 0.064, 0.07), (0.05, 0.056)  # m
RIM = 0.008  # m, the thickness of a bowl's and a plate's rim


def cup(scene: Tabletop, pose: sapien.Pose, name: str = "cup") -> Body:
    """An empty cup without a handle.

    Points: "grip", on its axis, where two fingers hold it; "wall", on its outside at the same height.
    """
    radius = float(scene.rng.choice([0.031, 0.034]))
    height = float(scene.rng.choice([0.085, 0.1]))
    colour = draw(scene, CUP_COLOURS)
    parts = Parts(scene, density=400)
    parts.wall((radius, 0.0), (radius, height), CUP_WALL, colour, CUP_SIDES)
    add_cylinder(parts.builder, radius - CUP_WALL, 0.003, material((0.35, 0.33, 0.3)), scene.friction, height=0.003)
    return parts.build(
        name,
        pose,
        colour=CUP_COLOUR_NAMES[CUP_COLOURS.index(colour)],
        width=2 * radius,
        grip=[0, 0, height - 0.025],
        wall=[radius, 0, height - 0.025],
    )


def coaster(scene: Tabletop, pose: sapien.Pose, name: str = "coaster") -> Body:
    """A round coaster, fixed to the table; point "top" is the middle of its upper side."""
    builder = scene.physics.create_actor_builder()
    colour = draw(scene, tuple(COASTERS))
    look = COASTERS[colour]
    rim: Colour = (look[0] * 0.5, look[1] * 0.5, look[2] * 0.5)
    add_cylinder(builder, 0.05, 0.003, material(rim), scene.friction, height=0.003)
    add_cylinder(builder, 0.042, 0.003, material(look), None, height=0.0032)
    made = scene.add(name, builder, pose, static=True)
    made.points["top"], made.colour = np.array([0.0, 0.0, 0.006]), colour
    return made


def mug(scene: Tabletop, pose: sapien.Pose, name: str = "mug") -> Body:
    """A mug with its handle towards +x.

    Points: "grip" on its axis, two fingers hold it across; "handle", the middle of the handle's outer bar, held by
    fingers that close along y; "hole", the middle of the handle's opening.
    """
    radius, height = draw(scene, (0.033, 0.036)), draw(scene, (0.08, 0.09, 0.1))
    colour = draw(scene, ("white", "blue", "red", "green", "yellow", "black"))
    look = PALETTE[colour]
    parts = Parts(scene)
    parts.wall((radius, 0.0), (radius, height), 0.005, look)
    parts.disc(radius - 0.004, 0.006, 0.0, shade(look, 0.6))
    reach, low, high = radius + 0.034, 0.22 * height, 0.82 * height
    loop = [[radius - 0.003, 0, high], [reach - 0.01, 0, high], [reach, 0, high - 0.012]]
    loop += [[reach, 0, low + 0.012], [reach - 0.01, 0, low], [radius - 0.003, 0, low]]
    parts.rod(loop, 0.005, shade(look, 0.85))
    middle = (low + high) / 2
    return parts.build(
        name,
        pose,
        colour=colour,
        width=2 * radius,
        grip=[0, 0, height - 0.025],
        handle=[reach, 0, middle],
        hole=[radius + 0.016, 0, middle],
    )


def bowl(scene: Tabletop, pose: sapien.Pose, name: str = "bowl", like: Body | None = None) -> Body:
    """A round bowl. Points: "rim", on its wall towards +x (`Skills.rim_grasp`); "inside", on its floor.

    `like` is a bowl of the same size. "nested" is where the origin of an equal bowl rests that is put into this one;
    "size" is (radius, 0, height).
    """
    radius, height = draw(scene, BOWL_RADII), draw(scene, BOWL_HEIGHTS)
    if like is not None:
        radius, height = (float(v) for v in like.points["size"][[0, 2]])
    colour = draw(scene, ("white", "blue", "teal", "orange", "red", "yellow"))
    look = PALETTE[colour]
    foot = 0.5 * radius
    parts = Parts(scene)
    parts.disc(foot, 0.008, 0.0, shade(look, 0.6))
    parts.wall((foot + 0.004, 0.004), (0.95 * radius, 0.42 * height), RIM, shade(look, 0.8))
    parts.wall((0.95 * radius, 0.38 * height), (radius, height), RIM, look)
    return parts.build(
        name,
        pose,
        colour=colour,
        width=RIM + 0.005,  # the wall leans
        rim=[radius - RIM / 2 - 0.001, 0, height - 0.006],
        inside=[0, 0, 0.008],
        size=[radius, 0, height],
        nested=[0, 0, 0.7 * height],
    )


def plate(scene: Tabletop, pose: sapien.Pose, name: str = "plate", static: bool = False) -> Body:
    """A round plate. Points: "top", the middle of its upper side; "rim", on its rim towards +x."""
    radius = draw(scene, (0.085, 0.095))
    colour = draw(scene, ("white", "blue", "teal", "pink", "yellow"))
    look = PALETTE[colour]
    parts = Parts(scene)
    parts.disc(0.68 * radius, 0.006, 0.0, shade(look, 0.85))
    parts.wall((0.66 * radius, 0.003), (radius, 0.018), RIM / 2, look, sides=24)
    parts.cylinder(0.5 * radius, 0.0006, [0, 0, 0.006], shade(look, 0.95), solid=False)
    return parts.build(
        name, pose, static, colour=colour, width=RIM / 2, top=[0, 0, 0.006], rim=[radius - 0.01, 0, 0.014]
    )


def bottle(scene: Tabletop, pose: sapien.Pose, name: str = "bottle") -> Body:
    """A bottle with a label, neck and cap. Points: "grip" on its axis at the label; "neck"; "top" on its cap."""
    radius, height = draw(scene, (0.027, 0.03, 0.033)), draw(scene, (0.17, 0.19, 0.21))
    colour = draw(scene, ("green", "blue", "red", "orange", "purple", "yellow", "black"))
    look = PALETTE[colour]
    body, neck = 0.62 * height, 0.8 * height
    parts = Parts(scene)
    parts.cylinder(radius, body, [0, 0, 0], look)
    parts.cylinder(
        radius + 0.0008, 0.3 * body, [0, 0, 0.35 * body], draw(scene, ((0.95, 0.95, 0.9), DARK)), solid=False
    )
    for step in range(3):  # the shoulder
        parts.cylinder(radius * (0.86 - 0.2 * step), (neck - body) / 3, [0, 0, body + step * (neck - body) / 3], look)
    parts.cylinder(0.011, height - neck - 0.02, [0, 0, neck], shade(look, 0.9))
    parts.cylinder(0.014, 0.022, [0, 0, height - 0.022], draw(scene, (PALETTE["white"], PALETTE["red"], DARK)))
    return parts.build(
        name,
        pose,
        colour=colour,
        width=2 * radius,
        grip=[0, 0, 0.5 * body],
        neck=[0, 0, neck + 0.01],
        top=[0, 0, height],
    )


def can(scene: Tabletop, pose: sapien.Pose, name: str = "can") -> Body:
    """A drinks can. Points: "grip" on its axis; "top", the middle of its lid."""
    radius, height = draw(scene, (0.027, 0.03, 0.033)), draw(scene, (0.09, 0.105, 0.115))
    colour = draw(scene, ("red", "blue", "green", "orange", "black", "purple"))
    look, metal = PALETTE[colour], (0.75, 0.76, 0.78)
    parts = Parts(scene)
    parts.cylinder(radius * 0.9, 0.006, [0, 0, 0], metal)
    parts.cylinder(radius, height - 0.014, [0, 0, 0.006], look)
    parts.cylinder(radius + 0.0006, 0.2 * height, [0, 0, 0.42 * height], PALETTE["white"], solid=False)
    parts.cylinder(radius * 0.88, 0.008, [0, 0, height - 0.008], metal)
    parts.box((0.01, 0.005, 0.001), [0.006, 0, height + 0.0008], (0.4, 0.4, 0.42), solid=False)
    return parts.build(name, pose, colour=colour, width=2 * radius, grip=[0, 0, 0.6 * height], top=[0, 0, height])

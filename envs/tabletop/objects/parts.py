"""Composing objects from primitives.

Conventions, for every object function `name(scene, pose, name="name") -> Body`:
- `pose` is the pose of the origin, which is the middle of the underside (`scene.on_table(spot, yaw)`).
- The front is the -y side, so an object with yaw 0 faces the robot; a long object lies along x.
- Sizes, proportions and colours are drawn from `scene.rng` with `draw`; `body.colour` names the main colour.
- "grip" is RoboTwin's contact point: two fingers hold the body there, closing along its y axis; `body.width` (m) is
  what they span.
- Points are in the body's frame (m). Walls that fingers straddle are at least 8 mm thick (`Predicates.pinches`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import sapien
from numpy.typing import NDArray

from envs.tabletop.poses import make_pose, quat_from_matrix
from envs.tabletop.rotations import rotation_onto
from envs.tabletop.scene import Body, Colour, Tabletop, add_cylinder, material, upright

Array = NDArray[np.floating]
Vector = Sequence[float] | Array
Option = TypeVar("Option")

PALETTE: dict[str, Colour] = {
    "white": (0.93, 0.93, 0.9),
    "grey": (0.5, 0.51, 0.54),
    "black": (0.1, 0.1, 0.11),
    "red": (0.8, 0.16, 0.13),
    "orange": (0.93, 0.5, 0.12),
    "yellow": (0.93, 0.77, 0.18),
    "green": (0.2, 0.55, 0.25),
    "teal": (0.1, 0.55, 0.58),
    "blue": (0.16, 0.35, 0.8),
    "purple": (0.45, 0.25, 0.6),
    "pink": (0.92, 0.55, 0.65),
    "brown": (0.45, 0.28, 0.15),
}
STEEL: Colour = (0.72, 0.73, 0.76)
DARK: Colour = (0.09, 0.09, 0.1)
WOOD: Colour = (0.7, 0.5, 0.3)
DENSITY = 300.0  # kg/m3: light objects slip less; RoboTwin's weigh 10 g or so, too
OVERLAP = 0.0005  # m, by which the boxes of a ring overlap


def draw(scene: Tabletop, options: Sequence[Option]) -> Option:
    """One of the options, drawn from the scene's generator: of (0.06, 0.07) one of these two, nothing between."""
    return options[int(scene.rng.integers(len(options)))]


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (factor < 1) or lighter shade of a colour."""
    r, g, b = (min(1.0, channel * factor) for channel in colour)
    return (r, g, b)


class Parts:
    """Adds primitives of one colour each, visual and collision shape, to an actor builder or a link builder.

    `solid=False` adds the visual shape only: keys, labels, screens.
    """

    def __init__(self, scene: Tabletop, builder: Any = None, density: float = DENSITY) -> None:
        self.scene = scene
        self.builder = builder or scene.physics.create_actor_builder()
        self.density = density

    def box(
        self, half: Vector, at: Vector, colour: Colour, pose: sapien.Pose | None = None, solid: bool = True
    ) -> None:
        """A box: half sizes (m) along the axes, its centre at `at` (m), or at `pose` within the frame at `at`."""
        centre, half = make_pose(at) * (pose or sapien.Pose()), _triple(half)
        self.builder.add_box_visual(centre, half, material(colour))
        if solid:
            self.builder.add_box_collision(centre, half, self.scene.friction, density=self.density)

    def cylinder(
        self,
        radius: float,
        height: float,
        at: Vector,
        colour: Colour,
        axis: Vector = (0.0, 0.0, 1.0),
        solid: bool = True,
    ) -> None:
        """A cylinder that begins at `at` (m) and extends `height` (m) along `axis` (unit)."""
        centre = make_pose(
            np.asarray(at) + height / 2 * np.asarray(axis), quat_from_matrix(rotation_onto(np.array(axis)))
        )
        self.builder.add_cylinder_visual(centre, radius, height / 2, material(colour))
        if solid:
            self.builder.add_cylinder_collision(centre, radius, height / 2, self.scene.friction, density=self.density)

    def sphere(self, radius: float, at: Vector, colour: Colour, solid: bool = True) -> None:
        """A sphere (m)."""
        self.builder.add_sphere_visual(make_pose(at), radius, material(colour))
        if solid:
            self.builder.add_sphere_collision(make_pose(at), radius, self.scene.friction, density=self.density)

    def rod(self, points: Sequence[Vector], radius: float, colour: Colour, solid: bool = True) -> None:
        """A round bar through points (m): capsules from each to the next; handles, arches, wires."""
        for start, end in zip(np.asarray(points[:-1]), np.asarray(points[1:]), strict=True):
            way = end - start
            pose = make_pose((start + end) / 2, quat_from_matrix(rotation_onto(way)))
            half = float(np.linalg.norm(way)) / 2
            self.builder.add_capsule_visual(pose, radius, half, material(colour))
            if solid:
                self.builder.add_capsule_collision(pose, radius, half, self.scene.friction, density=self.density)

    def wall(
        self, low: tuple[float, float], high: tuple[float, float], thickness: float, colour: Colour, sides: int = 16
    ) -> None:
        """A thin round wall: a ring of boxes between two circles, each (outer radius, height) (m)."""
        (r0, z0), (r1, z1) = low, high
        lean, length = np.arctan2(r1 - r0, z1 - z0), np.hypot(r1 - r0, z1 - z0)
        half = (thickness / 2, (max(r0, r1) + OVERLAP) * np.tan(np.pi / sides), length / 2)
        tilt = sapien.Pose(q=[np.cos(lean / 2), 0, np.sin(lean / 2), 0])
        look = material(colour)
        for side in range(sides):
            angle = 2 * np.pi * side / sides
            x, y = ((r0 + r1) / 2 - thickness / 2) * np.array([np.cos(angle), np.sin(angle)])
            pose = upright([x, y, (z0 + z1) / 2], angle)
            pose = pose * tilt if lean else pose
            self.builder.add_box_visual(pose, half, look)
            self.builder.add_box_collision(pose, half, self.scene.friction, density=self.density)

    def disc(self, radius: float, thickness: float, height: float, colour: Colour, solid: bool = True) -> None:
        """A horizontal disc whose underside lies at `height` (m): floors of vessels, plates, lids."""
        self.cylinder(radius, thickness, [0, 0, height], colour, solid=solid)

    def tub(
        self, half: tuple[float, float], height: float, thickness: float, colour: Colour, at: Vector = (0, 0, 0)
    ) -> None:
        """An open box: outer half sizes along x and y, height (m), the middle of its underside at `at`."""
        (x, y), t = half, thickness
        self.box((x, y, t / 2), np.add(at, [0, 0, t / 2]), shade(colour, 0.8))
        for sign in (-1, 1):
            self.box((t / 2, y, height / 2), np.add(at, [sign * (x - t / 2), 0, height / 2]), colour)
            self.box((x - t, t / 2, height / 2), np.add(at, [0, sign * (y - t / 2), height / 2]), colour)

    def build(
        self,
        name: str,
        pose: sapien.Pose,
        static: bool = False,
        *,
        colour: str = "",
        width: float = 0.0,
        **named_points: Vector,
    ) -> Body:
        """Builds the actor as the body `name` of the scene; named points [3] are in its frame (m)."""
        made = self.scene.add(name, self.builder, pose, static)
        made.points, made.width, made.colour = points(**named_points), width, colour
        return made


def _triple(vector: Vector) -> tuple[float, float, float]:
    x, y, z = vector
    return (float(x), float(y), float(z))


def points(**named: Vector) -> dict[str, Array]:
    """Named points [3] (m) of a body."""
    return {name: np.array(point, dtype=np.float64) for name, point in named.items()}


__all__ = ["DARK", "PALETTE", "STEEL", "WOOD", "Array", "Body", "Parts", "add_cylinder", "draw", "points", "shade"]

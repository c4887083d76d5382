"""Bodies of the tabletop's scene, rigid and articulated, and what their looks and shapes are built from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sapien
from numpy.typing import NDArray

from envs.tabletop.rotations import rotation_about

Array = NDArray[np.floating]
Colour = tuple[float, float, float]


@dataclass
class Body:
    """A rigid body of the scene.

    `points` are named points in its own frame (m): RoboTwin's contact and functional points. `width` (m) is what
    two fingers span that hold it at its point "grip"; they close along the body's y axis there, where it has one.
    `colour` names its main colour for instructions. `is_link` marks the moving part of an articulated body.
    """

    name: str
    entity: sapien.Entity
    points: dict[str, Array] = field(default_factory=dict)
    width: float = 0.0
    colour: str = ""
    is_link: bool = False

    @property
    def pose(self) -> sapien.Pose:
        return self.entity.pose

    @property
    def position(self) -> Array:
        """World position [3] (m)."""
        return np.asarray(self.entity.pose.p, dtype=np.float64)

    def point(self, name: str) -> Array:
        """World position [3] (m) of a named point.

        Raises:
            ValueError: the body has no such point.
        """
        if name not in self.points:
            raise ValueError(
                f"body {self.name!r} has no point {name!r} (it has: {', '.join(self.points) or 'none'}); "
                f"Parts.build(..., {name}=[x, y, z]) names points"
            )
        return self.position + self.rotation @ self.points[name]

    @property
    def rotation(self) -> Array:
        """World rotation [3, 3]."""
        return self.entity.pose.to_transformation_matrix()[:3, :3]

    @property
    def speed(self) -> float:
        """Linear speed (m/s); 0 for a static body."""
        kind = sapien.physx.PhysxArticulationLinkComponent if self.is_link else sapien.physx.PhysxRigidDynamicComponent
        dynamic: Any = self.entity.find_component_by_type(kind)
        return float(np.linalg.norm(dynamic.linear_velocity)) if dynamic else 0.0


@dataclass
class Articulated(Body):
    """A body fixed in the scene with one moving part: a lid, door, lever (hinge) or drawer (slide).

    The body itself is the base; `link` is the moving part, a body of the scene called `<name>_<part>`. A joint
    position is in rad (hinge) or m (slide), 0 when shut; `travel` is its largest value.
    """

    link: Body = field(kw_only=True)
    joint: Any = field(kw_only=True)
    travel: float = field(kw_only=True)

    @property
    def joint_position(self) -> float:
        """How far the part has moved (rad or m)."""
        return float(self.joint.child_link.articulation.get_qpos()[0])

    @property
    def fraction(self) -> float:
        """The same as a share of the travel in [0, 1], in which RoboTwin's predicates are stated."""
        return self.joint_position / self.travel

    def moved(self, point: Array, rotation: Array, by: float) -> tuple[Array, Array]:
        """Where a world point [3] (m) and rotation [3, 3] end up that move along with the part `by` rad or m."""
        frame = self.joint.get_global_pose().to_transformation_matrix()
        axis, origin = frame[:3, 0], frame[:3, 3]
        if self.joint.type == "prismatic":
            return point + by * axis, rotation
        turn = rotation_about(axis, by)
        return origin + turn @ (point - origin), turn @ rotation


def material(colour: Colour, roughness: float = 0.5) -> sapien.render.RenderMaterial:
    """A plain render material of an RGB colour in [0, 1]."""
    made = sapien.render.RenderMaterial()
    made.base_color = [*colour, 1.0]
    made.roughness = roughness
    made.metallic = 0.0
    return made


def add_cylinder(
    builder: sapien.ActorBuilder,
    radius: float,
    half_height: float,
    look: sapien.render.RenderMaterial,
    friction: sapien.physx.PhysxMaterial | None,
    height: float = 0.0,
) -> None:
    """Adds an upright cylinder (m) whose centre lies `height` above the actor's origin; no friction: visual only."""
    half = np.sqrt(0.5)
    pose = sapien.Pose([0, 0, height], [half, 0, half, 0])  # cylinders lie along x in SAPIEN
    builder.add_cylinder_visual(pose, radius, half_height, look)
    if friction is not None:
        builder.add_cylinder_collision(pose, radius, half_height, friction)

"""The tabletop: RoboTwin's table, wall, lights and cameras, two arms, and the bodies a task puts on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sapien
from numpy.typing import NDArray

from envs.errors import UserError
from envs.tabletop import kinematics as kin
from envs.tabletop.robot import WRIST_CAMERA, Arm, make_pose
from envs.tabletop.textures import patterned

Array = NDArray[np.floating]
Colour = tuple[float, float, float]

PHYSICS_STEP = 1.0 / 250.0  # s
SUBSTEPS = 15  # physics steps per control step, as in RoboTwin's data
CONTROL_STEP = PHYSICS_STEP * SUBSTEPS  # s
TABLE_TOP = 0.74  # m
TABLE_SIZE = (1.2, 0.7, 0.05)  # m
TABLE_DROP = 0.03  # m, `randomized` lowers the table by up to this much
FIELD_OF_VIEW = np.deg2rad(37.0)  # vertical, D435
CAMERAS = ("head_camera", "left_camera", "right_camera")
HEAD_POSITION, HEAD_FORWARD, HEAD_LEFT = (-0.032, -0.45, 1.35), (0.0, 0.6, -0.8), (-1.0, 0.0, 0.0)
CLUTTER = 10  # objects, `randomized`
CLUTTER_HEIGHT = (0.01, 0.045)  # m; lower than anything is carried, so that clutter never blocks a task
Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1 (m)


@dataclass
class Body:
    """A rigid body of the scene. `points` are named points in its own frame (m): RoboTwin's functional points."""

    name: str
    entity: sapien.Entity
    points: dict[str, Array] = field(default_factory=dict)

    @property
    def pose(self) -> sapien.Pose:
        return self.entity.pose

    @property
    def position(self) -> Array:
        """World position [3] (m)."""
        return np.asarray(self.entity.pose.p, dtype=np.float64)

    def point(self, name: str) -> Array:
        """World position [3] (m) of a named point."""
        return self.position + self.rotation @ self.points[name]

    @property
    def rotation(self) -> Array:
        """World rotation [3, 3]."""
        return self.entity.pose.to_transformation_matrix()[:3, :3]

    @property
    def speed(self) -> float:
        """Linear speed (m/s); 0 for a static body."""
        dynamic: Any = self.entity.find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
        return float(np.linalg.norm(dynamic.linear_velocity)) if dynamic else 0.0


@dataclass(frozen=True)
class Contact:
    """One contact between two bodies named `a` and `b`: points [n, 3] (m, world) that carry an impulse."""

    a: str
    b: str
    points: Array


class Tabletop:
    """A SAPIEN scene, rebuilt on every reset so that a seed fixes everything.

    Args:
        rng: source of every random choice of this scene.
        randomized: RoboTwin's demo_randomized (textures, lights, table height, later clutter) or demo_clean.

    Raises:
        UserError: SAPIEN finds no rendering device.
    """

    def __init__(self, rng: np.random.Generator, randomized: bool) -> None:
        self.rng = rng
        self.randomized = randomized
        self.scene = _new_scene()
        self.scene.set_timestep(PHYSICS_STEP)
        self.friction = self.scene.create_physical_material(0.5, 0.5, 0.0)
        self.table_top = TABLE_TOP - (rng.uniform(0, TABLE_DROP) if randomized else 0.0)
        self.bodies: dict[str, Body] = {}
        self.clear_areas: list[Rectangle] = []
        self._light()
        self._furniture()
        self.arms = {name: Arm(self.scene, name, self.friction) for name in kin.ARMS}
        self.cameras: dict[str, sapien.render.RenderCameraComponent] = {}
        self._contacts: list[Contact] | None = None

    # -- building ---------------------------------------------------------------------------------

    def _light(self) -> None:
        colours = np.ones((3, 3)) * [[0.5], [1.0], [1.0]]
        if self.randomized:
            colours = self.rng.uniform(0.3, 1.0, (3, 3))
        self.scene.set_ambient_light([0.5, 0.5, 0.5])
        self.scene.add_directional_light([0, 0.5, -1], colours[0])
        self.scene.add_point_light([1, 0, 1.8], colours[1])
        self.scene.add_point_light([-1, 0, 1.8], colours[2])

    def _furniture(self) -> None:
        table, wall = material((0.93, 0.93, 0.93)), material((1.0, 0.9, 0.9))
        if self.randomized:
            table, wall = patterned(self.rng), patterned(self.rng)
        x, y, z = TABLE_SIZE
        self.box("table", (x / 2, y / 2, z / 2), [0, 0, self.table_top - z / 2], table, static=True)
        self.box("wall", (3, 0.6, 1.5), [0, 1, 1.5], wall, static=True)

    def add(self, name: str, builder: sapien.ActorBuilder, pose: sapien.Pose, static: bool = False) -> Body:
        """Builds an actor and keeps it as the body `name` (unique in the scene)."""
        builder.set_initial_pose(pose)
        entity = builder.build_static(name) if static else builder.build(name)
        body = Body(name, entity)
        self.bodies[name] = body
        return body

    def box(
        self,
        name: str,
        half_size: tuple[float, float, float],
        position: Array | list[float],
        look: Colour | sapien.render.RenderMaterial,
        yaw: float = 0.0,
        static: bool = False,
    ) -> Body:
        """A box: half size and position in m, yaw in rad."""
        builder = self.scene.create_actor_builder()
        builder.add_box_collision(half_size=half_size, material=self.friction)
        builder.add_box_visual(half_size=half_size, material=material(look) if isinstance(look, tuple) else look)
        return self.add(name, builder, upright(position, yaw), static)

    def keep_clear(self, centre: Array, radius: float) -> None:
        """Keeps clutter out of a square of half width `radius` (m) about `centre` (xy, m)."""
        x, y = centre[:2]
        self.clear_areas.append((x - radius, y - radius, x + radius, y + radius))

    def scatter_clutter(self) -> None:
        """`randomized`: up to ten small objects on the table, off the task's clear areas and off each other."""
        placed: list[Array] = []
        for _ in range(200):
            if len(placed) == CLUTTER:
                return
            radius = self.rng.uniform(0.015, 0.035)
            centre = self.rng.uniform([-0.56, -0.30], [0.56, 0.32])
            blocked = any(
                x0 - radius < centre[0] < x1 + radius and y0 - radius < centre[1] < y1 + radius
                for x0, y0, x1, y1 in self.clear_areas
            )
            if blocked or any(np.linalg.norm(centre - other[:2]) < radius + other[2] + 0.01 for other in placed):
                continue
            self._clutter_object(f"clutter{len(placed)}", centre, radius)
            placed.append(np.array([*centre, radius]))

    def _clutter_object(self, name: str, centre: Array, radius: float) -> None:
        builder = self.scene.create_actor_builder()
        look = material(tuple(self.rng.uniform(0.1, 1.0, 3)))
        half_height = self.rng.uniform(*CLUTTER_HEIGHT) / 2
        kind = self.rng.integers(3)
        if kind == 0:
            add_cylinder(builder, radius, half_height, look, self.friction)
        else:
            half = (radius * 0.7, radius * (0.7 if kind == 1 else 0.35), half_height)
            builder.add_box_collision(half_size=half, material=self.friction)
            builder.add_box_visual(half_size=half, material=look)
        pose = upright([*centre, self.table_top + half_height + 0.001], self.rng.uniform(-np.pi, np.pi))
        self.add(name, builder, pose)

    def add_cameras(self, head_size: tuple[int, int], wrist_size: tuple[int, int]) -> None:
        """Adds the three cameras; sizes are (height, width) in px."""
        forward, left = np.array(HEAD_FORWARD), np.array(HEAD_LEFT)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([forward, left, np.cross(forward, left)], 1)
        pose[:3, 3] = HEAD_POSITION
        (height, width) = head_size
        head = self.scene.add_camera("head_camera", width, height, FIELD_OF_VIEW, 0.1, 100)
        head.entity.set_pose(sapien.Pose(pose))
        self.cameras["head_camera"] = head
        (height, width) = wrist_size
        for name, arm in self.arms.items():
            camera = self.scene.add_mounted_camera(
                f"{name}_camera", arm.wrist.entity, WRIST_CAMERA, width, height, FIELD_OF_VIEW, 0.01, 100
            )
            self.cameras[f"{name}_camera"] = camera

    # -- running ----------------------------------------------------------------------------------

    def advance(self, physics_steps: int = SUBSTEPS) -> None:
        """Runs the physics for a number of 1/250 s steps."""
        for _ in range(physics_steps):
            self.scene.step()
        self._contacts = None

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """One RGB image [H, W, 3] u8 per camera."""
        self.scene.update_render()
        for camera in self.cameras.values():
            camera.take_picture()
        return {name: to_rgb(camera.get_picture("Color")) for name, camera in self.cameras.items()}

    def contacts(self) -> list[Contact]:
        """Contacts that carry an impulse; fingers are called left_finger7, left_finger8, right_finger7, ..."""
        if self._contacts is None:
            self._contacts = self._read_contacts()
        return self._contacts

    def _read_contacts(self) -> list[Contact]:
        found = []
        for contact in self.scene.get_contacts():
            points = [p.position for p in contact.points if np.dot(p.impulse, p.impulse) > 1e-12]
            if points:
                a, b = (component.entity.name for component in contact.bodies)
                found.append(Contact(a, b, np.array(points)))
        return found

    def touching(self, a: str, b: str) -> list[Array]:
        """Contact points between two bodies by name; a name ending in `*` is a prefix ("left_finger*")."""

        def matches(pattern: str, name: str) -> bool:
            return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern

        return [
            point
            for c in self.contacts()
            if (matches(a, c.a) and matches(b, c.b)) or (matches(a, c.b) and matches(b, c.a))
            for point in c.points
        ]

    def fingers_on(self, name: str) -> bool:
        """Whether any finger touches the body `name`."""
        return any(self.touching(f"{arm}_finger*", name) for arm in kin.ARMS)


def _new_scene() -> sapien.Scene:
    try:
        return sapien.Scene()
    except RuntimeError as error:
        if "rendering device" not in str(error):
            raise
        raise UserError(
            "SAPIEN finds no Vulkan device to render with; `python -m aim_rl.doctor` says how to mend it"
        ) from error


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


def upright(position: Array | list[float], yaw: float = 0.0) -> sapien.Pose:
    """Pose of an object that stands on the table: position (m), yaw about z (rad)."""
    return make_pose(position, [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])


def to_rgb(picture: Array) -> NDArray[np.uint8]:
    """SAPIEN's float RGBA picture [H, W, 4] as u8 RGB [H, W, 3]."""
    return (np.clip(picture[..., :3], 0, 1) * 255).astype(np.uint8)

"""The tabletop: RoboTwin's table, wall, lights and cameras, two arms, and the bodies a task puts on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import sapien
from numpy.typing import NDArray

from envs.constants import ARMS, PHYSICS_STEP, SUBSTEPS
from envs.contacts import Contact
from envs.tabletop import studio
from envs.tabletop.bodies import Articulated, Body, Colour, add_cylinder, material
from envs.tabletop.cameras import FIELD_OF_VIEW, HEAD_POSITION, head_rotation
from envs.tabletop.poses import upright
from envs.tabletop.renderer import new_scene, take_pictures
from envs.tabletop.robot import WRIST_CAMERA, Arm
from envs.tabletop.rotations import rotation_onto
from envs.tabletop.textures import patterned

Array = NDArray[np.floating]

TABLE_TOP = 0.74  # m
TABLE_SIZE = (1.2, 0.7, 0.05)  # m
TABLE_DROP = 0.03  # m, `randomized` lowers the table by up to this much
CLUTTER = 10  # objects, `randomized`
CLUTTER_HEIGHT = (0.01, 0.045)  # m; lower than anything is carried, so that clutter never blocks a task
ASLEEP_GAP = 1e-4  # m, between sleeping bodies that touch
JOINT_DAMPING = {"revolute": 0.05, "prismatic": 5.0}  # N m s/rad, N s/m: stops soon, moves at a finger's push
Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1 (m)


class Tabletop:
    """A SAPIEN scene, rebuilt on every reset so that a seed fixes everything.

    Args:
        rng: source of every random choice of this scene.
        randomized: RoboTwin's demo_randomized (textures, lights, table height, later clutter) or demo_clean.
        in_studio: looks as in pictures for people (`envs.tabletop.studio`); otherwise the same scene.

    Raises:
        UserError: SAPIEN finds no rendering device.
    """

    def __init__(self, rng: np.random.Generator, randomized: bool, in_studio: bool = False) -> None:
        self.rng = rng
        self.randomized = randomized
        self.in_studio = in_studio
        self.physics = new_scene()
        self.physics.set_timestep(PHYSICS_STEP)
        self.friction = self.physics.create_physical_material(0.5, 0.5, 0.0)
        self.table_top = TABLE_TOP - (rng.uniform(0, TABLE_DROP) if randomized else 0.0)
        self.bodies: dict[str, Body] = {}
        self.clear_areas: list[Rectangle] = []
        self.box_clutter = True  # whether clutter may be boxes; not where boxes are the task
        self._light()
        self._furniture()
        self.arms = {name: Arm(self.physics, name, self.friction) for name in ARMS}
        self.cameras: dict[str, sapien.render.RenderCameraComponent] = {}
        self._contacts: list[Contact] | None = None

    # -- building ---------------------------------------------------------------------------------

    def _light(self) -> None:
        colours = np.ones((3, 3)) * [[0.5], [1.0], [1.0]]
        if self.randomized:
            colours = self.rng.uniform(0.3, 1.0, (3, 3))
        if self.in_studio:
            studio.add_light(self.physics)
            return
        self.physics.set_ambient_light([0.5, 0.5, 0.5])
        self.physics.add_directional_light([0, 0.5, -1], colours[0])
        self.physics.add_point_light([1, 0, 1.8], colours[1])
        self.physics.add_point_light([-1, 0, 1.8], colours[2])

    def _furniture(self) -> None:
        looks = (studio.TABLE, studio.WALL) if self.in_studio else ((0.93, 0.93, 0.93), (1.0, 0.9, 0.9))
        table, wall = (material(look) for look in looks)
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

    def add_articulated(
        self,
        name: str,
        part: str,
        builder: Any,
        pose: sapien.Pose,
        kind: str,
        hinge: tuple[float, float, float],
        axis: tuple[float, float, float],
        travel: float,
        opened: float,
    ) -> Articulated:
        """Builds an articulation of two links, base and moving part, and fixes its base in the scene.

        Args:
            name: of the base; the moving part is called `<name>_<part>`.
            builder: sapien's articulation builder with the two link builders; when shut, the part's frame has the
                base's orientation and its origin at `hinge`.
            pose: of the base.
            kind: "revolute" or "prismatic".
            hinge: origin of the part's frame, on the joint's axis (m, base frame).
            axis: the joint's axis, pointing so that opening is positive.
            travel: largest joint position (rad or m).
            opened: share of the travel at which it starts.
        """
        base, link = builder.link_builders
        base.set_name(name)
        link.set_name(f"{name}_{part}")
        link.set_joint_name(f"{name}_joint")
        turn = np.eye(4)
        turn[:3, :3] = rotation_onto(np.array(axis))
        link.set_joint_properties(
            kind, [(0.0, travel)], sapien.Pose(list(hinge)) * sapien.Pose(turn), sapien.Pose(turn)
        )
        builder.set_initial_pose(pose)
        articulation: Any = builder.build(fix_root_link=True)
        joint = articulation.active_joints[0]
        joint.set_friction(0.02)
        joint.set_drive_property(0.0, JOINT_DAMPING[kind])  # with no gravity on the part it stays where it is put
        for made in articulation.links:
            made.set_disable_gravity(True)
        articulation.set_qpos(np.array([opened * travel], dtype=np.float32))
        moving = Body(f"{name}_{part}", articulation.links[1].entity, is_link=True)
        body = Articulated(name, articulation.links[0].entity, link=moving, joint=joint, travel=travel)
        self.bodies |= {body.name: body, moving.name: moving}
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
        builder = self.physics.create_actor_builder()
        builder.add_box_collision(half_size=half_size, material=self.friction)
        builder.add_box_visual(half_size=half_size, material=material(look) if isinstance(look, tuple) else look)
        return self.add(name, builder, upright(position, yaw), static)

    def on_table(self, spot: Array, yaw: float = 0.0) -> sapien.Pose:
        """Pose of an object that stands on the table at `spot` (xy, m): its origin is on its underside."""
        return upright([*spot[:2], self.table_top + 0.001], yaw)

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
        builder = self.physics.create_actor_builder()
        look = material(tuple(self.rng.uniform(0.1, 1.0, 3)))
        half_height = self.rng.uniform(*CLUTTER_HEIGHT) / 2
        kind = self.rng.integers(3)
        if kind == 0 or not self.box_clutter:
            add_cylinder(builder, radius, half_height, look, self.friction)
        else:
            half = (radius * 0.7, radius * (0.7 if kind == 1 else 0.35), half_height)
            builder.add_box_collision(half_size=half, material=self.friction)
            builder.add_box_visual(half_size=half, material=look)
        pose = upright([*centre, self.table_top + half_height + 0.001], self.rng.uniform(-np.pi, np.pi))
        self.add(name, builder, pose)

    def add_cameras(self, head_size: tuple[int, int], wrist_size: tuple[int, int]) -> None:
        """Adds the three cameras; sizes are (height, width) in px."""
        (height, width) = head_size
        head = self.physics.add_camera("head_camera", width, height, FIELD_OF_VIEW, 0.1, 100)
        head.entity.set_pose(_head_pose())
        self.cameras["head_camera"] = head
        (height, width) = wrist_size
        for name, arm in self.arms.items():
            camera = self.physics.add_mounted_camera(
                f"{name}_camera", arm.wrist.entity, WRIST_CAMERA, width, height, FIELD_OF_VIEW, 0.01, 100
            )
            self.cameras[f"{name}_camera"] = camera

    def add_studio_camera(self) -> None:
        """Adds the camera of pictures for people, where the head camera is."""
        self.cameras["studio"] = studio.add_camera(self.physics, _head_pose())

    # -- saving -----------------------------------------------------------------------------------

    def save(self) -> tuple[bytes, list[tuple[Array, float]], list[Contact]]:
        """What changes while the scene runs: bodies, joints and drives; each arm's command; the present contacts."""
        simulator: Any = self.physics.physx_system  # SAPIEN's type is a base class without `pack`
        commands = [(arm.joints.copy(), arm.gripper) for arm in self.arms.values()]
        return simulator.pack(), commands, list(self.contacts())

    def load(self, saved: tuple[bytes, list[tuple[Array, float]], list[Contact]]) -> None:
        """`save` undone, in a scene of the same seed."""
        physics, commands, contacts = saved
        simulator: Any = self.physics.physx_system
        simulator.unpack(physics)
        for arm, (joints, gripper) in zip(self.arms.values(), commands, strict=True):
            arm.joints, arm.gripper = joints.copy(), gripper
        self._contacts = list(contacts)

    # -- running ----------------------------------------------------------------------------------

    def advance(self, physics_steps: int = SUBSTEPS) -> None:
        """Runs the physics for a number of 1/250 s steps."""
        for _ in range(physics_steps):
            self.physics.step()
        self._contacts = None

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """One RGB image [H, W, 3] u8 per camera."""
        return take_pictures(self.physics, self.cameras)

    def contacts(self) -> list[Contact]:
        """Contacts that carry an impulse; fingers are called left_finger7, left_finger8, right_finger7, ...

        PhysX may put rocking bodies to sleep in a step without an impulse between them. Between sleeping bodies without
        an impulse, points less than `ASLEEP_GAP` apart count.
        """
        if self._contacts is None:
            self._contacts = self._read_contacts()
        return self._contacts

    def _read_contacts(self) -> list[Contact]:
        found, asleep = [], []
        for contact in self.physics.get_contacts():
            a, b = sorted(component.entity.name for component in contact.bodies)
            points = [tuple(p.position) for p in contact.points if np.dot(p.impulse, p.impulse) > 1e-12]
            if points:
                found.append(Contact(a, b, np.array(sorted(points))))
            elif all(_asleep(component) for component in contact.bodies):
                near = [tuple(p.position) for p in contact.points if p.separation < ASLEEP_GAP]
                asleep += [Contact(a, b, np.array(sorted(near)))] if near else []
        carried = {(contact.a, contact.b) for contact in found}
        found += [contact for contact in asleep if (contact.a, contact.b) not in carried]
        # PhysX lists them as they lie in memory, which differs from process to process.
        return sorted(found, key=lambda contact: (contact.a, contact.b, contact.points.tolist()))

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
        return any(self.touching(f"{arm}_finger*", name) for arm in ARMS)


def _head_pose() -> sapien.Pose:
    pose = np.eye(4)
    pose[:3, :3] = head_rotation()
    pose[:3, 3] = HEAD_POSITION
    return sapien.Pose(pose)


def _asleep(component: Any) -> bool:
    """Whether PhysX no longer moves a body: static, or a rigid one that sleeps."""
    return isinstance(component, sapien.physx.PhysxRigidStaticComponent) or (
        isinstance(component, sapien.physx.PhysxRigidDynamicComponent) and component.is_sleeping
    )

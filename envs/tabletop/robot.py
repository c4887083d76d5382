"""The bimanual robot: RoboTwin's aloha-agilex joint chain, its geometry built from primitives."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import sapien
from numpy.typing import NDArray
from sapien.wrapper.pinocchio_model import PinocchioModel

from envs.constants import ARMS, OPEN_COMMAND, QPOS_ARM, QPOS_GRIPPER
from envs.tabletop import kinematics as kin
from envs.tabletop.cameras import WRIST_PITCH, WRIST_POSITION
from envs.tabletop.poses import half_turn_about_x, make_pose, matrix_from_quat, quat_from_matrix
from envs.tabletop.rotations import rotation_onto

Array = NDArray[np.floating]

STIFFNESS, DAMPING = 1000.0, 200.0  # RoboTwin's drives, grippers too
GRIPPER_CLOSED, GRIPPER_TRAVEL = -0.01, 0.055  # m per finger: command g maps to -0.01 + 0.055 g
FINGER_LIMIT = (0.0, 0.04765)  # m
JOINT_LIMIT = (  # rad; wide enough for every RoboTwin trajectory
    (-3.14, 3.14),
    (-0.1, 3.5),
    (-0.1, 3.5),
    (-2.0, 2.0),
    (-2.0, 2.0),
    (-3.14, 3.14),
)
ELBOW_STRAIGHT = 2.9  # rad, joint3: beyond it the elbow bends the other way, where joint4's limit blocks the wrist
OPENING_SPEED = 0.01  # m/s: slower fingers have arrived or are blocked
WRIST_CAMERA = sapien.Pose(WRIST_POSITION, [np.cos(WRIST_PITCH / 2), 0, np.sin(WRIST_PITCH / 2), 0])  # on link6

_DARK, _GREY, _FINGER = (0.16, 0.16, 0.18), (0.55, 0.56, 0.6), (0.12, 0.12, 0.13)


@dataclass
class Tool:
    """Where a gripper is: tool centre (m, scene), endpose rotation [3, 3], finger opening in command units."""

    position: Array
    rotation: Array
    opening: float


def _material(colour: tuple[float, float, float], roughness: float = 0.6) -> sapien.render.RenderMaterial:
    material = sapien.render.RenderMaterial()
    material.base_color = [*colour, 1.0]
    material.roughness = roughness
    return material


def _pose(xyz: tuple[float, float, float], rpy: tuple[float, float, float]) -> sapien.Pose:
    return make_pose(xyz, quat_from_matrix(kin.rpy_matrix(*rpy).numpy()))


# SAPIEN turns revolute and prismatic joints about the x axis of the joint frame
_AXIS_TO_X = {
    "x": sapien.Pose(),
    "y": sapien.Pose([0, 0, 0], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]),
    "z": sapien.Pose([0, 0, 0], [np.sqrt(0.5), 0, -np.sqrt(0.5), 0]),
}


class Arm:
    """One arm with its gripper: a SAPIEN articulation, its drives and its inverse kinematics.

    The commanded state (drive targets) is kept here, because RoboTwin reports commands, not measurements.
    """

    def __init__(self, scene: sapien.Scene, name: str, finger_friction: sapien.physx.PhysxMaterial) -> None:
        self.name = name
        self.articulation: Any = self._build(scene, finger_friction)
        position, rotation = (t.numpy() for t in kin.arm_base(name))
        self.base = make_pose(position, quat_from_matrix(rotation))
        self.articulation.set_root_pose(self.base)
        self._joints = self.articulation.get_active_joints()
        for joint in self._joints:
            joint.set_drive_property(STIFFNESS, DAMPING)
        links = {link.name: link for link in self.articulation.links}
        self.wrist = links[f"{name}_link6"]
        self.fingers = (links[f"{name}_finger7"], links[f"{name}_finger8"])
        self._model = self.articulation.create_pinocchio_model()
        self._wrist_index = self.articulation.links.index(self.wrist)
        self.joints: Array = np.zeros(6)
        self.gripper = 1.0
        finger = GRIPPER_CLOSED + GRIPPER_TRAVEL
        self.articulation.set_qpos(np.array([0.0] * 6 + [finger, finger]))
        self.command(self.joints, self.gripper, 0.06)

    def _build(self, scene: sapien.Scene, friction: sapien.physx.PhysxMaterial) -> sapien.physx.PhysxArticulation:
        builder = scene.create_articulation_builder()
        group = 1 << ARMS.index(self.name)

        def link(parent: Any, name: str) -> Any:  # SAPIEN has no stubs for its builders
            made = builder.create_link_builder(parent)
            made.set_name(f"{self.name}_{name}")
            made.collision_groups = [1, 1, group, 0]  # an arm does not collide with itself
            made.set_mass_and_inertia(1.0, sapien.Pose(), [1e-3, 1e-3, 1e-3])
            return made

        parent = link(None, "base")
        parent.add_cylinder_visual(sapien.Pose([0, 0, 0.02], [0.7071, 0, 0.7071, 0]), 0.05, 0.04, _material(_DARK))
        for index, (xyz, rpy, axis) in enumerate(kin.JOINT_ORIGIN):
            child = link(parent, f"link{index + 1}")
            child.set_joint_name(f"joint{index + 1}")
            turn = _AXIS_TO_X[axis]
            child.set_joint_properties("revolute", [JOINT_LIMIT[index]], _pose(xyz, rpy) * turn, turn)
            if index + 1 < len(kin.JOINT_ORIGIN):
                _rod(child, np.array(kin.JOINT_ORIGIN[index + 1][0]), 0.027, collide=index in (1, 2))
            parent = child
        parent.add_box_visual(sapien.Pose([0.045, 0, 0]), [0.035, 0.045, 0.022], _material(_GREY))
        parent.add_box_collision(sapien.Pose([0.045, 0, 0]), [0.03, 0.04, 0.02], friction)
        for name, side in (("finger7", 1.0), ("finger8", -1.0)):
            finger = link(parent, name)
            finger.set_joint_name(f"joint{name[-1]}")
            turn = sapien.Pose([0, 0, 0], [np.sqrt(0.5), 0, 0, side * np.sqrt(0.5)])
            origin = sapien.Pose([0.08457, side * 0.0245, -0.0001])
            finger.set_joint_properties("prismatic", [FINGER_LIMIT], origin * turn, turn)
            # at joint position 0 the inner faces of the two fingers meet
            centre = sapien.Pose([0.025, -side * (0.0245 - 0.006), 0])
            finger.add_box_visual(centre, [0.03, 0.006, 0.011], _material(_FINGER))
            finger.add_box_collision(centre, [0.03, 0.006, 0.011], friction)
        articulation: Any = builder.build(fix_root_link=True)
        articulation.set_name(f"{self.name}_arm")
        for made in articulation.links:
            made.set_disable_gravity(True)  # RoboTwin compensates gravity in every step
        return articulation

    def command(self, joints: Array, gripper: float, duration: float) -> None:
        """Sets drive targets: joint angles [6] (rad) and gripper command, to be reached in `duration` s."""
        velocity = (joints - self.joints) / duration
        for joint, target, speed in zip(self._joints, joints, velocity, strict=False):
            joint.set_drive_target(float(target))
            joint.set_drive_velocity_target(float(speed))
        for joint in self._joints[6:]:
            joint.set_drive_target(GRIPPER_CLOSED + GRIPPER_TRAVEL * gripper)
        self.joints, self.gripper = np.array(joints, dtype=np.float64), float(gripper)

    def measured(self) -> Array:
        """Measured joint angles [6] (rad) and gripper opening in command units: [7]."""
        qpos = self.articulation.get_qpos()
        return np.append(qpos[:6], (qpos[6:].mean() - GRIPPER_CLOSED) / GRIPPER_TRAVEL)

    @property
    def is_opening(self) -> bool:
        """Whether the fingers are on their way to an open command; False once something stops them."""
        moving = float(self.articulation.get_qvel()[6:].mean()) > OPENING_SPEED
        return moving and self.gripper > OPEN_COMMAND and self.measured()[6] < 0.95

    def endpose(self) -> sapien.Pose:
        """Measured endpose, world."""
        pose = self.wrist.entity_pose
        return make_pose(pose.p, half_turn_about_x(pose.q))

    def tool(self) -> Tool:
        """Measured tool centre."""
        pose = self.endpose()
        rotation = matrix_from_quat(pose.q)
        return Tool(pose.p + kin.TOOL_OFFSET * rotation[:, 0], rotation, float(self.measured()[6]))

    def commanded_endpose(self) -> sapien.Pose:
        """Endpose of the drive targets, world."""
        self._model.compute_forward_kinematics(np.append(self.joints, [0.0, 0.0]))
        pose = self.base * self._model.get_link_pose(self._wrist_index)
        return make_pose(pose.p, half_turn_about_x(pose.q))

    def inverse(self, pose: sapien.Pose) -> Array:
        """Joint angles [6] whose endpose is nearest to `pose` (scene), starting from the commanded joints.

        For an unreachable pose: the closest configuration that the damped iteration finds inside the joint limits.
        """
        target = self.base.inv() * make_pose(pose.p, half_turn_about_x(pose.q))
        return _inverse(self._model, self._wrist_index, 2, target, self.joints)


def joint_targets(qpos: Array, actions: Array) -> Array:
    """Joint targets of a chunk of "ee" actions, as an environment in that mode gives them to its drives.

    Args:
        qpos: [14] joints commanded before (rad; grippers 0..1).
        actions: [h, 16], per arm xyz (m), wxyz, gripper; world frame.

    Returns:
        [h, 14].
    """
    targets = np.empty((len(actions), 14))
    for arm, part in zip(ARMS, np.split(actions, 2, axis=1), strict=True):
        position, rotation = (t.numpy() for t in kin.arm_base(arm))
        base, joints = make_pose(position, quat_from_matrix(rotation)), qpos[QPOS_ARM[arm]]
        for step, row in enumerate(part):
            target = base.inv() * make_pose(row[:3], half_turn_about_x(row[3:7]))
            joints = _inverse(_arm_model(), len(kin.JOINT_ORIGIN), 0, target, joints)
            targets[step, QPOS_ARM[arm]] = joints
        targets[:, QPOS_GRIPPER[arm]] = part[:, 7].clip(0.0, 1.0)
    return targets


def _inverse(model: Any, link: int, fingers: int, target: sapien.Pose, start: Array) -> Array:
    """Joint angles [6] for a link6 pose in the arm's base frame, at most one control step's way from `start` [6]."""
    solution = _iterate(model, link, fingers, target, start)
    if solution[2] > ELBOW_STRAIGHT:
        bent = start.copy()
        bent[2] = ELBOW_STRAIGHT - 0.5
        solution = _iterate(model, link, fingers, target, bent)
        solution[2] = min(solution[2], ELBOW_STRAIGHT)
    low, high = np.array(JOINT_LIMIT).T
    step = np.clip(solution - start, -0.5, 0.5)  # rad per control step: no jumps
    return np.clip(start + step, low, high)


def _iterate(model: Any, link: int, fingers: int, target: sapien.Pose, start: Array) -> Array:
    """Damped least-squares inverse kinematics [6] (rad) in a model with so many fingers behind the six joints."""
    mask = np.array([1] * 6 + [0] * fingers, dtype=np.int32)
    start = np.append(start, [0.0] * fingers)
    solution, _, _ = model.compute_inverse_kinematics(
        link, target, start, mask, eps=1e-4, max_iterations=30, dt=0.8, damp=1e-4
    )
    return solution[:6]


@functools.cache
def _arm_model() -> PinocchioModel:
    """The chain of both arms, base to link6, as SAPIEN's inverse kinematics takes it; no scene is needed."""

    def joint(number: int, xyz: tuple[float, ...], rpy: tuple[float, ...], axis: str) -> str:
        origin = f'xyz="{" ".join(map(str, xyz))}" rpy="{" ".join(map(str, rpy))}"'
        vector = " ".join(str(int(axis == each)) for each in "xyz")
        return (
            f'<joint name="joint{number}" type="revolute"><parent link="link{number - 1}"/>'
            f'<child link="link{number}"/><origin {origin}/><axis xyz="{vector}"/>'
            '<limit lower="-7" upper="7" effort="1" velocity="1"/></joint>'
        )

    links = [f"link{number}" for number in range(len(kin.JOINT_ORIGIN) + 1)]
    joints = [joint(number, *origin) for number, origin in enumerate(kin.JOINT_ORIGIN, 1)]
    model = PinocchioModel(
        '<robot name="arm">' + "".join([*(f'<link name="{link}"/>' for link in links), *joints]) + "</robot>", [0, 0, 0]
    )
    model.set_link_order(links)
    model.set_joint_order([f"joint{number}" for number in range(1, len(links))])
    return model


def _rod(link: Any, end: Array, radius: float, collide: bool) -> None:
    """A rounded bar from the link's origin to `end` (m, link frame), as the arm's visible body."""
    length = float(np.linalg.norm(end))
    link.add_sphere_visual(sapien.Pose(), radius * 1.15, _material(_GREY))
    if length < 0.02:
        return
    pose = make_pose(end / 2, quat_from_matrix(rotation_onto(end)))
    link.add_capsule_visual(pose, radius, length / 2, _material(_DARK))
    if collide:
        link.add_capsule_collision(pose, radius, length / 2)

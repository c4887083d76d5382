"""The Gymnasium environment of a tabletop task."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import sapien
from numpy.typing import NDArray

from envs.actions import ACTION_SIZE, action_space
from envs.observations import observation_spaces
from envs.tabletop import kinematics as kin
from envs.tabletop.motion import next_joints
from envs.tabletop.robot import make_pose, matrix_from_quat, quat_from_matrix
from envs.tabletop.scene import CAMERAS, CONTROL_STEP, Tabletop
from envs.tabletop.task import Task, task_class

SETTINGS = ("clean", "randomized")
WORDINGS = ("seen", "unseen")
SETTLE_STEPS = 50  # physics steps after spawning, so that objects rest on the table

Observation = dict[str, NDArray[Any]]
MAX_JOINT_ANGLE = 4 * np.pi  # rad; PhysX turns no joint further, and overflows on the way to targets of 1e37


class TabletopEnv(gym.Env[Observation, NDArray[np.float32]]):
    """A RoboTwin task on the built-in tabletop.

    Observation (flat Dict): `head_camera`, `left_camera`, `right_camera` u8 [H, W, 3] RGB; `qpos` f32 [14]
    commanded joints in RoboTwin's order (left 6 rad, left gripper, right 6 rad, right gripper) and
    `qpos_measured`, the same measured; `left_endpose`, `right_endpose` f32 [7] xyz (m) + wxyz, world; per
    camera `<camera>_intrinsic` f32 [3, 3] and `<camera>_extrinsic` f32 [3, 4] (world to camera, OpenCV).

    Reward: 1 on the step that first succeeds, else 0. Success terminates, RoboTwin's step limit truncates.

    Args:
        task: name of a file in envs/tabletop/tasks.
        setting: "clean" or "randomized".
        head_size, wrist_size: image sizes (height, width) in px; RoboTwin's D435 by default.
        action_mode: "joint" f32 [14] absolute joint targets; "ee" f32 [16] endposes (xyz, wxyz, gripper per
            arm, scene); "delta_ee" f32 [14] (xyz m, rotation vector rad in the world frame, gripper per arm)
            relative to the commanded endpose.
        instructions: "seen" or "unseen" wordings.

    Raises:
        ValueError: a setting, action mode or kind of wording that does not exist, an action of wrong shape or not
            finite.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / CONTROL_STEP)}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        setting: str = "clean",
        head_size: tuple[int, int] = (240, 320),
        wrist_size: tuple[int, int] = (240, 320),
        action_mode: str = "joint",
        instructions: str = "seen",
        render_mode: str | None = None,
    ) -> None:
        if setting not in SETTINGS:
            raise ValueError(f"setting {setting!r} does not exist; choose one of {', '.join(SETTINGS)}")
        if action_mode not in ACTION_SIZE:
            raise ValueError(f"action_mode {action_mode!r} does not exist; choose one of {', '.join(ACTION_SIZE)}")
        if instructions not in WORDINGS:
            raise ValueError(f"instructions {instructions!r} do not exist; choose one of {', '.join(WORDINGS)}")
        self.task_class = task_class(task)
        self.setting = setting
        (height, width), (wrist_height, wrist_width) = head_size, wrist_size
        self.head_size, self.wrist_size = (height, width), (wrist_height, wrist_width)
        self.action_mode = action_mode
        self.wording = instructions
        self.render_mode = render_mode
        self.step_limit = self.task_class.step_limit
        self.instruction: str
        self.steps = 0
        sizes = {camera: self.head_size if camera == "head_camera" else self.wrist_size for camera in CAMERAS}
        self.observation_space: Any = gym.spaces.Dict({**observation_spaces(sizes)})  # typed as a space of spaces
        self.action_space = action_space(action_mode)
        self.scene: Tabletop
        self.task: Task

    # -- Gymnasium --------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        super().reset(seed=seed)
        self.restart(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self.observe(), self.info(False)

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        success = self.control(action)
        truncated = not success and self.steps >= self.step_limit
        return self.observe(), float(success), success, truncated, self.info(success)

    def render(self) -> NDArray[np.uint8]:
        """The head camera's picture u8 [H, W, 3]."""
        return self.scene.render()["head_camera"]

    def info(self, success: bool) -> dict[str, Any]:
        """What Gymnasium's info carries."""
        return {"is_success": np.bool_(success), "instruction": self.instruction, "seed": np.int64(self.seed)}

    # -- the same without rendering, for wrappers that read fewer frames ---------------------------

    def restart(self, seed: int) -> None:
        """Builds the scene of a seed; nothing is rendered."""
        self.seed = seed
        rng = np.random.default_rng(seed)
        self.scene = Tabletop(rng, self.setting == "randomized")
        self.task = self.task_class(self.scene)
        if self.setting == "randomized":
            self.scene.scatter_clutter()
        templates = {"seen": self.task_class.instructions, "unseen": self.task_class.unseen_instructions}
        slots = self.task.slots()
        self.wordings = {kind: [text.format(**slots) for text in texts] for kind, texts in templates.items()}
        texts = self.wordings[self.wording]
        self.instruction = texts[int(rng.integers(len(texts)))]
        self.scene.add_cameras(self.head_size, self.wrist_size)
        self.scene.advance(SETTLE_STEPS)
        self.steps = 0

    def control(self, action: NDArray[np.floating]) -> bool:
        """Executes one control step (15 physics steps) and returns whether the task is solved."""
        targets = self.joint_targets(action)
        for name, arm in self.scene.arms.items():
            joints, gripper = targets[kin.QPOS_ARM[name]], targets[kin.QPOS_GRIPPER[name]]
            arm.command(joints, float(np.clip(gripper, 0.0, 1.0)), CONTROL_STEP)
        self.scene.advance()
        self.steps += 1
        return self.task.check_success()

    def progress(self) -> float:
        """The task's privileged measure of progress in [0, 1] (`Task.progress`)."""
        return self.task.progress()

    def joint_targets(self, action: NDArray[np.floating]) -> NDArray[np.float64]:
        """Joint targets f64 [14] of an action in this environment's action mode."""
        action = np.asarray(action, dtype=np.float64)
        size = ACTION_SIZE[self.action_mode]
        if action.shape != (size,):
            raise ValueError(f"action has shape {action.shape}, action_mode={self.action_mode!r} takes ({size},)")
        if not np.isfinite(action).all():
            raise ValueError("action holds NaN or infinity; the robot was not moved")
        if self.action_mode == "joint":
            return action.clip(-MAX_JOINT_ANGLE, MAX_JOINT_ANGLE)
        targets = np.empty(14)
        for (name, arm), part in zip(self.scene.arms.items(), np.split(action, 2), strict=True):
            if self.action_mode == "ee":
                norm = np.linalg.norm(part[3:7])
                if norm < 1e-6:
                    raise ValueError("action holds a zero quaternion; give wxyz of unit length")
                pose = make_pose(part[:3], part[3:7] / norm)
            else:
                pose = _moved(arm.commanded_endpose(), part[:3], part[3:6])
            targets[kin.QPOS_ARM[name]] = arm.inverse(pose)
            targets[kin.QPOS_GRIPPER[name]] = part[-1]
        return targets

    def observe(self) -> Observation:
        """Renders the cameras and reads the robot: the observation of the class docstring."""
        observation: Observation = dict(self.scene.render())
        for name, camera in self.scene.cameras.items():
            observation[f"{name}_intrinsic"] = camera.get_intrinsic_matrix().astype(np.float32)
            observation[f"{name}_extrinsic"] = camera.get_extrinsic_matrix()[:3].astype(np.float32)
        return observation | self.proprioception()

    def proprioception(self) -> Observation:
        """The part of the observation that needs no rendering."""
        arms = self.scene.arms.values()
        state = {
            "qpos": np.concatenate([np.append(arm.joints, arm.gripper) for arm in arms]),
            "qpos_measured": np.concatenate([arm.measured() for arm in arms]),
        }
        for arm in arms:
            pose = arm.endpose()
            state[f"{arm.name}_endpose"] = np.concatenate([pose.p, pose.q])
        return {key: value.astype(np.float32) for key, value in state.items()}

    def expert_action(self) -> NDArray[np.float64]:
        """The scripted expert's next joint targets f64 [14], from the simulator's state alone."""
        commands = self.task.expert()
        action = np.empty(14)
        for name, arm in self.scene.arms.items():
            command = commands.get(name) or self.task.skills.back_to_origin(name)
            action[kin.QPOS_ARM[name]] = next_joints(arm, command)
            action[kin.QPOS_GRIPPER[name]] = command.gripper
        return action


def _moved(pose: sapien.Pose, shift: NDArray[np.float64], rotvec: NDArray[np.float64]) -> sapien.Pose:
    """A pose shifted by `shift` (m, world) and turned by the world-frame rotation vector `rotvec` (rad)."""
    angle = float(np.linalg.norm(rotvec))
    axis = rotvec / angle if angle > 1e-9 else np.array([1.0, 0.0, 0.0])
    turn = make_pose([0, 0, 0], np.append(np.cos(angle / 2), np.sin(angle / 2) * axis))
    rotation = matrix_from_quat(turn.q) @ matrix_from_quat(pose.q)
    return make_pose(pose.p + shift, quat_from_matrix(rotation))

"""The Gymnasium environment of a tabletop task."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.actions import action_space, check_action
from envs.base import Demonstration, Observation, Snapshot, TaskEnv, View
from envs.constants import ACTION_SIZE, CAMERAS, CONTROL_STEP, INSTRUCTION_SPLITS, QPOS_ARM, QPOS_GRIPPER, SETTINGS
from envs.contacts import ContactRecorder
from envs.observations import finite, observation_spaces
from envs.tabletop import studio
from envs.tabletop.motion import next_joints
from envs.tabletop.perturbation import ActionPerturbation
from envs.tabletop.poses import make_pose, moved
from envs.tabletop.scene import Tabletop
from envs.tabletop.task import Task, load_task, save_task, task_class

SETTLE_STEPS = 50  # physics steps after spawning, so that objects rest on the table
MAX_JOINT_ANGLE = 4 * np.pi  # rad; PhysX turns no joint further, and overflows on the way to targets of 1e37
EXPERT_LIMIT = 400  # control steps, or half the task's limit; a disturbed expert that needs longer has failed


class TabletopEnv(TaskEnv):
    """A RoboTwin task on the built-in tabletop, in this process; `TaskEnv` describes what it observes and takes.

    Processes: after one has rendered, its forked children cannot; start them with `spawn` or `forkserver`
    (`gym.vector.AsyncVectorEnv(..., context="spawn")`).

    Args:
        task: name of a file in envs/tabletop/tasks.
        setting: "clean" or "randomized".
        head_size, wrist_size: image sizes (height, width) in px; RoboTwin's D435 by default.
        action_mode: "joint", "ee" or "delta_ee".
        instructions: split that the instruction is drawn from, "seen" or "unseen".

    Raises:
        ValueError: an argument that does not exist.
    """

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
        for name, value, known in (
            ("setting", setting, SETTINGS),
            ("action_mode", action_mode, ACTION_SIZE),
            ("instructions", instructions, INSTRUCTION_SPLITS),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} does not exist; choose one of {', '.join(known)}")
        self.task_class = task_class(task)
        self.task_name, self.step_limit = task, self.task_class.step_limit
        self.setting, self.action_mode, self.instruction_split = setting, action_mode, instructions
        self.render_mode = render_mode
        (height, width), (wrist_height, wrist_width) = head_size, wrist_size
        self.head_size, self.wrist_size = (height, width), (wrist_height, wrist_width)
        sizes = {camera: self.head_size if camera == "head_camera" else self.wrist_size for camera in CAMERAS}
        self.observation_space: Any = gym.spaces.Dict({**observation_spaces(sizes)})  # typed as a space of spaces
        self.action_space = action_space(action_mode)
        self.scene: Tabletop
        self.task: Task
        self._studio: Tabletop | None = None

    def restart(self, seed: int) -> None:
        self.seed = seed
        self.scene, self.task = self._build()
        self._studio = None
        rng = self.scene.rng
        templates = {"seen": self.task_class.instructions, "unseen": self.task_class.unseen_instructions}
        slots = self.task.slots()
        self.instructions_by_split = {
            split: [text.format(**slots) for text in texts] for split, texts in templates.items()
        }
        texts = self.instructions_by_split[self.instruction_split]
        self.instruction = texts[int(rng.integers(len(texts)))]
        self.scene.add_cameras(self.head_size, self.wrist_size)
        self.scene.advance(SETTLE_STEPS)
        self.steps = 0

    def _build(self, in_studio: bool = False) -> tuple[Tabletop, Task]:
        """The bodies of the seed's scene, not yet at rest, and the task; without cameras."""
        randomized = self.setting == "randomized"
        scene = Tabletop(np.random.default_rng(self.seed), randomized, in_studio)
        task = self.task_class(scene)
        if randomized:
            scene.scatter_clutter()
        return scene, task

    def control(self, action: NDArray[np.floating]) -> bool:
        return self._move(self.joint_targets(action))

    def expert_step(self) -> bool:
        return self._move(self.expert_action())

    def _move(self, targets: NDArray[np.floating]) -> bool:
        """One control step towards joint targets [14]; returns whether the task is solved."""
        for name, arm in self.scene.arms.items():
            arm.command(targets[QPOS_ARM[name]], float(targets[QPOS_GRIPPER[name]]), CONTROL_STEP)
        self.scene.advance()
        self.steps += 1
        return self.task.check_success()

    def snapshot(self) -> Snapshot:
        state = self.scene.save(), save_task(self.task)
        return Snapshot(self.task_name, self.setting, self.seed, self.steps, state)

    def restore(self, snapshot: Snapshot) -> None:
        ours, theirs = (self.task_name, self.setting), (snapshot.task, snapshot.setting)
        if ours != theirs:
            raise ValueError(f"the snapshot is of {theirs}, this environment runs {ours}")
        self.restart(snapshot.seed)  # a new scene has no contacts of before, so branches repeat each other
        scene, task = snapshot.state
        load_task(self.task, task)
        self.scene.load(scene)
        self.steps = snapshot.steps

    def progress(self) -> float:
        return self.task.progress()

    def joint_targets(self, action: NDArray[np.floating]) -> NDArray[np.float64]:
        """Joint targets f64 [14] of an action in this environment's action mode.

        Raises:
            ValueError: as `control`.
        """
        action = check_action(action, self.action_mode)
        if self.action_mode == "joint":
            return action.clip(-MAX_JOINT_ANGLE, MAX_JOINT_ANGLE)
        targets = np.empty(14)
        for (name, arm), part in zip(self.scene.arms.items(), np.split(action, 2), strict=True):
            if self.action_mode == "ee":
                pose = make_pose(part[:3], part[3:7])
            else:
                pose = moved(arm.commanded_endpose(), part[:3], part[3:6])
            targets[QPOS_ARM[name]] = arm.inverse(pose)
            targets[QPOS_GRIPPER[name]] = part[-1]
        return targets

    def observe(self) -> Observation:
        observation: Observation = dict(self.scene.render())
        for name, camera in self.scene.cameras.items():
            observation[f"{name}_intrinsic"] = camera.get_intrinsic_matrix().astype(np.float32)
            observation[f"{name}_extrinsic"] = camera.get_extrinsic_matrix()[:3].astype(np.float32)
        return observation | self.proprioception()

    def view(self) -> View:
        """The scene in better light (`envs.tabletop.studio`), u8 [480, 640, 3].

        A second scene with the same bodies is put into the state of this one, so nothing that a policy sees changes.
        """
        if self._studio is None:
            self._studio = self._build(in_studio=True)[0]
            self._studio.add_studio_camera()
        self._studio.load(self.scene.save())
        return View(self._studio.render()["studio"], studio.intrinsic())

    def proprioception(self) -> Observation:
        """The part of the observation that needs no rendering: `qpos`, `qpos_measured` and the endposes."""
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
            action[QPOS_ARM[name]] = next_joints(arm, command)
            action[QPOS_GRIPPER[name]] = command.gripper
        return action

    def watch_contacts(self) -> ContactRecorder:
        return ContactRecorder(self.scene)

    def demonstrate(self, seed: int) -> Demonstration | None:
        """The scripted expert, disturbed on purpose so that the data shows recoveries (`ActionPerturbation`)."""
        self.restart(seed)
        perturb, recorder = ActionPerturbation(np.random.default_rng([seed, 1])), self.watch_contacts()
        observations: list[Observation] = []
        actions: list[NDArray[np.float32]] = []
        perturbed: list[bool] = []
        solved, limit = False, max(EXPERT_LIMIT, self.step_limit // 2)
        while not solved and self.steps < limit:
            recorder.record()
            action, disturbed = perturb(self.expert_action())
            action[[6, 13]] = action[[6, 13]].clip(0.0, 1.0)
            observations.append(finite(self.observe()))
            actions.append(action.astype(np.float32))
            perturbed.append(disturbed)
            solved = self.control(action)
        recorder.record()
        if not solved:
            return None
        stacked = {key: np.stack([each[key] for each in observations]) for key in observations[0]}
        return Demonstration(stacked, np.stack(actions), np.array(perturbed), recorder.events(), recorder.poses)

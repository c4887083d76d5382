"""The Gymnasium environment of a RoboTwin task in a real RoboTwin checkout."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.actions import action_space, check_action
from envs.base import Demonstration, Observation, TaskEnv
from envs.constants import ACTION_SIZE, CAMERAS, INSTRUCTION_SPLITS
from envs.errors import UserError
from envs.observations import finite, observation_spaces
from envs.robotwin.checkout import SeedBook, open_checkout
from envs.robotwin.client import TaskFailed, Worker, WorkerLost, new_log
from envs.robotwin.recording import ExpertRecording, watch

SHADERS = ("default", "rt")
ATTEMPTS = 3  # processes per request
CANDIDATES = 20  # scenes per seed
STRIDE = 10_000_000  # between a seed's candidates: more than any seed for training or evaluation

T = TypeVar("T")


def interpreter(python: str | Path) -> Path:
    """An interpreter's absolute path, since its process starts in the checkout; a bare name is looked up in PATH.

    Symbolic links are kept: a virtual environment's interpreter is one, and its place names the environment.
    """
    given = os.path.expanduser(python)
    return Path(os.path.abspath(given) if os.sep in given else given)


class RoboTwinEnv(TaskEnv):
    """A task of a RoboTwin checkout, simulated by RoboTwin itself in a process of its own.

    `TaskEnv` describes what it observes and takes; success is RoboTwin's `eval_success`.

    Seeds: a seed is RoboTwin's own. A seed whose scene is unstable or whose expert fails does not count, as in
    RoboTwin's evaluation (script/eval_policy.py); it is replaced by the seed plus 10 000 000, then that plus 10 000 000
    and so on, so that two seeds never show the same scene. `info["scene_seed"]` is the one that is simulated. Verdicts
    are kept in `$XDG_CACHE_HOME/aim_rl/robotwin`, so that the expert runs once per seed.

    A process that dies, hangs or raises an exception is replaced, and the new one repeats the episode so far (same
    seed, same actions), up to three times per request. If an action gets no answer then, the episode ends as at the
    step limit (at once if RoboTwin raises an exception). If a scene gets none, it is replaced as above; a second one
    raises. `restarts` counts the replaced processes.

    Args:
        task: RoboTwin's name.
        root: the checkout.
        python: the interpreter that RoboTwin was installed into.
        config: a task configuration of the checkout, such as demo_clean or demo_randomized.
        head_size, wrist_size: image sizes (height, width) in px; RoboTwin's D435 by default.
        cameras: which of head_camera, left_camera and right_camera are observed; others are not rendered.
        action_mode: "joint", "ee" or "delta_ee".
        servo: False: RoboTwin's `take_action`, a motion from rest to rest that takes as long as it takes (end
            effectors through cuRobo; an arm that cannot plan stays still). True: drive targets for 15 physics steps,
            as on the tabletop (end effectors through inverse kinematics), for chunks of actions.
        evaluation: RoboTwin's evaluation: unseen textures.
        instructions: split that the instruction is drawn from, "seen" or "unseen".
        shader: "default", or "rt" for RoboTwin's ray tracing (a GPU's work).
        timeout: seconds that RoboTwin may take for one call; five times as much for the first of its kind.

    Raises:
        ValueError: an argument that does not exist.
        UserError: checkout, interpreter, assets, configuration or task are not there, or RoboTwin cannot run.
    """

    seed_limit: ClassVar[int] = STRIDE

    def __init__(
        self,
        task: str,
        root: str | Path,
        python: str | Path,
        config: str = "demo_clean",
        head_size: tuple[int, int] = (240, 320),
        wrist_size: tuple[int, int] = (240, 320),
        cameras: tuple[str, ...] = CAMERAS,
        action_mode: str = "joint",
        servo: bool = False,
        evaluation: bool = False,
        instructions: str = "seen",
        shader: str = "default",
        timeout: float = 120.0,
        render_mode: str | None = None,
    ) -> None:
        for name, value, known in (
            *(("action_mode", action_mode, ACTION_SIZE), ("shader", shader, SHADERS)),
            *(("instructions", instructions, INSTRUCTION_SPLITS), *(("camera", camera, CAMERAS) for camera in cameras)),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} does not exist; choose one of {', '.join(known)}")
        self._worker: Worker | None = None
        self.checkout = open_checkout(Path(root), task)
        self.task_name, self.config, self.python = task, config, interpreter(python)
        self.action_mode, self.servo, self.render_mode = action_mode, servo, render_mode
        self.instruction_split = instructions
        self._timeout = timeout
        self._sizes = {camera: head_size if camera == "head_camera" else wrist_size for camera in cameras}
        self._hello = {
            "task": task,
            "config": config,
            "configs": self.checkout.configs,
            "cameras": self._sizes,
            "shader": shader,
            "evaluation": evaluation,
        }
        self._log_named = False
        self.instruction = task.replace("_", " ")
        self._scene: dict[str, Any] | None = None
        self._actions: list[NDArray[np.float64]] = []
        self.log = new_log(task)
        description = self._first_start()
        self.step_limit = int(description["step_limit"])
        self.embodiment = str(description["embodiment"])
        name = [task, config, self.embodiment, self.checkout.version, *(["evaluation"] if evaluation else [])]
        self._book = SeedBook(*name)
        self.spaces = observation_spaces(self._sizes)
        self.observation_space: Any = gym.spaces.Dict({**self.spaces})  # typed as a space of spaces
        self.action_space = action_space(action_mode)

    def render(self) -> NDArray[np.uint8]:
        """The first camera's picture u8 [H, W, 3]."""
        return self.observe()[next(iter(self._sizes))]

    def close(self) -> None:
        """Ends RoboTwin's process; its log stays where a warning or an error has named it."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if not self._log_named:
            self.log.unlink(missing_ok=True)

    def provenance(self) -> dict[str, str]:
        """RoboTwin's commit, embodiment and task configuration."""
        return {
            "backend": "robotwin",
            "commit": self.checkout.version,
            "embodiment": self.embodiment,
            "config": self.config,
        }

    def info(self, success: bool) -> dict[str, Any]:
        """Also `scene_seed` and `restarts`, how many processes were replaced."""
        counts = {"scene_seed": np.int64(self.scene_seed), "restarts": np.int64(self.restarts)}
        return super().info(success) | counts

    def restart(self, seed: int) -> None:
        """Builds the scene of a seed; nothing is rendered.

        Raises:
            ValueError: a seed below 0 or from 2**31 on.
            UserError: RoboTwin's expert solves none of the scenes that may stand in for it, or RoboTwin cannot run.
        """
        scene = self._enter(seed)
        self._set_instructions(self._persist(lambda worker: worker.ask("reset", scene)[0]))

    def control(self, action: NDArray[np.floating]) -> bool:
        """Executes one action and returns whether the task is solved."""
        action = check_action(action, self.action_mode)
        try:
            success = bool(self._persist(lambda worker: self._act(worker, action), WorkerLost))
        except (WorkerLost, TaskFailed) as error:
            warnings.warn(f"{error}; this ends the episode", stacklevel=2)
            self.steps = self.step_limit
            return False
        self._actions.append(action)
        self.steps += 1
        return success

    def observe(self) -> Observation:
        """Renders the cameras and reads the robot: the observation of the class docstring."""
        arrays = self._persist(lambda worker: worker.ask("observe", {})[1])
        for key, space in self.spaces.items():
            if key not in arrays or arrays[key].shape != space.shape:
                found = arrays[key].shape if key in arrays else "nothing"
                raise RuntimeError(f"RoboTwin observed {key} as {found}, not {space.shape} (log: {self.log})")
        return {key: arrays[key].astype(space.dtype) for key, space in self.spaces.items()}

    def demonstrate(self, seed: int) -> Demonstration | None:
        """RoboTwin's expert, undisturbed: it plans whole motions. The actions are the drive targets of a frame later.

        None also where RoboTwin raises an exception on the scene.
        """
        try:
            recording = self.record_expert(seed)
        except TaskFailed:
            return None
        if not recording.success:
            return None
        frames, recorder = recording.frames, watch(recording)
        observations = finite({key: np.stack([each[key] for each in frames[:-1]]) for key in self.spaces})
        action = np.stack([each["qpos"] for each in frames[1:]])
        return Demonstration(observations, action, np.zeros(len(action), bool), recorder.events(), recorder.poses)

    def record_expert(self, seed: int, as_recorded: bool = False) -> ExpertRecording:
        """RoboTwin's expert on the scene of a seed, with a frame now and after every 15 physics steps.

        Args:
            seed: as in `reset`.
            as_recorded: as RoboTwin records its data: the scene of exactly this seed, even if its expert fails, with
                more frames where motions begin and end.

        Raises:
            TaskFailed: RoboTwin raises an exception on it.
        """
        scene = self._enter(seed, as_recorded)

        def record(worker: Worker) -> ExpertRecording:
            frames: list[Observation] = []
            answer, _ = worker.ask("demonstrate", {**scene, "as_recorded": as_recorded}, frames=frames)
            self._set_instructions(answer)
            return ExpertRecording(frames, answer["bodies"], answer["links"], answer["success"])

        return self._persist(record)

    # -- seeds --------------------------------------------------------------------------------------

    def _enter(self, seed: int, itself: bool = False) -> dict[str, Any]:
        """Begins an episode and returns the fields of a request that name its scene; `itself`: the seed's own scene."""
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed {seed} is not in 0 .. 2**31 - 1")
        verdict = {"seed": seed, "scene": {}} if itself else self._choose(seed)
        self.seed, self.scene_seed = seed, int(verdict["seed"])
        scene = {"seed": self.scene_seed, "scene": verdict["scene"]}
        self._scene, self._actions, self.steps = scene, [], 0
        return scene

    def _set_instructions(self, answer: dict[str, Any]) -> None:
        """Takes the instructions of the scene that RoboTwin has built, and draws one."""
        self.instructions_by_split = answer["instructions"]
        texts = self.instructions_by_split[self.instruction_split]
        self.instruction = texts[int(np.random.default_rng(self.seed).integers(len(texts)))]

    def _choose(self, seed: int) -> dict[str, Any]:
        """The first candidate of a seed that RoboTwin's expert solves; verdicts come from the cache where possible."""
        verdict: dict[str, Any] = {}
        lost = False
        for candidate in range(seed, seed + CANDIDATES * STRIDE, STRIDE):
            try:
                verdict = self._book.get(candidate) or self._try(candidate)
            except (WorkerLost, TaskFailed) as error:
                if lost:
                    raise  # RoboTwin may break on one scene; on two it cannot run
                lost = True
                warnings.warn(f"{error}; another scene stands in for seed {candidate}", stacklevel=3)
                continue
            if verdict["verdict"] == "solved":
                return verdict
        self._log_named = True
        raise UserError(
            f"RoboTwin's expert solved none of {CANDIDATES} scenes of {self.task_name} ({self.config}) tried for seed "
            f"{seed}, the last one ended with {verdict['verdict']!r}; see {self.log}"
        )

    def _try(self, seed: int) -> dict[str, Any]:
        self._scene = None  # no episode to repeat
        answer = self._persist(lambda worker: worker.ask("expert", {"seed": seed})[0])
        return self._book.add(seed, answer["verdict"], answer["scene"])

    # -- RoboTwin's process -------------------------------------------------------------------------

    def _act(self, worker: Worker, action: NDArray[np.float64]) -> bool:
        fields = {"mode": self.action_mode, "servo": self.servo}
        return worker.ask("act", fields, {"action": action})[0]["success"]

    def _persist(self, request: Callable[[Worker], T], *losses: type[UserError]) -> T:
        """Runs a request; if the process is lost, a new one repeats the episode so far and gets the request again.

        Args:
            request: what to ask.
            losses: errors that count as a lost process; by default also an exception of RoboTwin's.

        Raises:
            WorkerLost, TaskFailed: the third process is lost too.
        """
        for attempt in range(ATTEMPTS):
            try:
                if self._worker is None:
                    self._worker = self._replacement()
                return request(self._worker)
            except UserError as error:
                self._log_named = True
                if not isinstance(error, losses or (WorkerLost, TaskFailed)):
                    raise
                if self._worker is not None:
                    self._worker.close()
                    self._worker = None
                self.restarts += 1
                if attempt + 1 == ATTEMPTS:
                    raise
                warnings.warn(f"{error}; starting it again at the same seed", stacklevel=2)
        raise AssertionError("unreachable")

    def _replacement(self) -> Worker:
        """A new process that has repeated the episode so far: RoboTwin is deterministic."""
        worker, _ = self._start()
        try:
            if self._scene is not None:
                worker.ask("reset", self._scene)
                for action in self._actions:
                    self._act(worker, action)
        except BaseException:
            worker.close()
            raise
        return worker

    def _start(self) -> tuple[Worker, dict[str, Any]]:
        worker = Worker(self.python, self.checkout.root, self.log, self._timeout)
        try:
            return worker, worker.ask("hello", self._hello)[0]
        except BaseException:
            worker.close()
            raise

    def _first_start(self) -> dict[str, Any]:
        try:
            self._worker, description = self._start()
        except (WorkerLost, TaskFailed) as error:
            raise UserError(
                f"{self.python} could not load RoboTwin from {self.checkout.root}; is it the interpreter that RoboTwin "
                f"was installed into? {error}"
            ) from error
        return description

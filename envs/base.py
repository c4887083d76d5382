"""The environment interface: what a simulator provides so that commands, wrappers and trainers can use it.

`envs.tabletop.env.TabletopEnv` and `envs.robotwin.env.RoboTwinEnv` implement it; `envs.make_env` builds either one.
Nothing outside `envs/` needs to know which of them it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.constants import CONTROL_STEP
from envs.contacts import ContactRecorder, Event
from envs.errors import UserError

Observation = dict[str, NDArray[Any]]
UNSAVED = "this simulator cannot save the state of an episode; the built-in one can: leave out --backend robotwin"

NO_EXPERT_STEP = (
    "this simulator's expert plans whole episodes and cannot go on from where a policy has come; the built-in one can: "
    "leave out --backend robotwin, or --policy"
)


@dataclass(frozen=True)
class Demonstration:
    """A solved episode of a backend's expert: T frames, each an observation and the action given on it."""

    observations: Observation
    """The environment's observations, stacked: key -> [T, ...]."""
    action: NDArray[np.float32]
    """f32 [T, 14], absolute joint targets in RoboTwin's order (rad; grippers 0..1)."""
    perturbed: NDArray[np.bool_]
    """bool [T], whether the action was disturbed on purpose and is not to be imitated."""
    events: list[Event]
    """Interaction events, ordered by frame; an event at the very end has frame T."""
    body_poses: Mapping[str, Sequence[NDArray[np.floating]]]
    """Body -> its pose [7] (xyz m, wxyz; world) at each frame, T + 1 of them."""


@dataclass(frozen=True)
class Snapshot:
    """The state of an environment in the middle of an episode: plain data, which can be copied and sent elsewhere."""

    task: str
    setting: str
    seed: int
    """Of the episode's `restart`, which builds the scene."""
    steps: int
    """Control steps so far."""
    state: Any
    """What the simulator adds; only its own `restore` reads it."""


class View(NamedTuple):
    """A picture for people, taken from where the head camera is."""

    picture: NDArray[np.uint8]
    """u8 [H, W, 3]."""
    intrinsic: NDArray[np.float32]
    """f32 [3, 3], px of the picture; the extrinsics are the head camera's."""


class TaskEnv(gym.Env[Observation, NDArray[np.float32]], ABC):
    """A RoboTwin task in some simulator.

    `reset` and `step` are Gymnasium's and render one observation each. Wrappers that read fewer frames (`ChunkEnv`)
    call `restart`, `control` and `observe` themselves, which do the same in parts. `reset` with the options
    `{"snapshot": s}` restores a snapshot, also through wrappers; give it the snapshot's seed where they need one.

    Observation (flat Dict, `envs.observations.observation_spaces`): per camera `<camera>` u8 [H, W, 3] RGB,
    `<camera>_intrinsic` f32 [3, 3] (px of the image as delivered) and `<camera>_extrinsic` f32 [3, 4] (world to camera,
    OpenCV); `qpos` f32 [14] commanded joints in RoboTwin's order (left 6 rad, left gripper 0..1, right 6 rad, right
    gripper) and `qpos_measured`, the same measured; `left_endpose`, `right_endpose` f32 [7] xyz (m) + wxyz, world.

    Action (`action_mode`): "joint" f32 [14] absolute joint targets; "ee" f32 [16] endposes (xyz m, wxyz, gripper per
    arm; world); "delta_ee" f32 [14] (xyz m, rotation vector rad in the world frame, gripper per arm) relative to the
    commanded endpose.

    Reward: 1 on the step that first succeeds, else 0. Success terminates, RoboTwin's step limit truncates.

    Attributes:
        task_name: RoboTwin's name of the task.
        action_mode: see above.
        step_limit: control steps per episode.
        steps: control steps since the last `restart`.
        seed: of the last `restart`.
        instruction: the sentence that tells a policy what to do in this episode.
        instructions_by_split: "seen" and "unseen" -> all sentences that fit this episode.
        instruction_split: the split that `instruction` is drawn from.
        restarts: how often the simulator's process was lost and replaced; 0 where the simulator runs in this process.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / CONTROL_STEP)}  # noqa: RUF012
    seed_limit: ClassVar[int] = 2**31
    """`reset` without a seed draws one below this."""

    task_name: str
    action_mode: str
    step_limit: int
    steps: int = 0
    seed: int
    instruction: str
    instructions_by_split: dict[str, list[str]]
    instruction_split: str
    restarts: int = 0

    @abstractmethod
    def restart(self, seed: int) -> None:
        """Builds the scene of a seed, which fixes everything; renders nothing."""

    @abstractmethod
    def control(self, action: NDArray[np.floating]) -> bool:
        """Executes one control step (15 physics steps) and returns whether the task is solved; renders nothing.

        Raises:
            ValueError: the action has the wrong shape, is not finite or holds a zero quaternion. Nothing has moved.
        """

    @abstractmethod
    def observe(self) -> Observation:
        """Renders the cameras and reads the robot."""

    def view(self) -> View:
        """The scene as it is shown to people; what the cameras observe does not depend on it."""
        seen = self.observe()
        return View(seen["head_camera"], seen["head_camera_intrinsic"])

    def render(self) -> NDArray[np.uint8]:
        """The picture of `view`, u8 [H, W, 3]."""
        return self.view().picture

    def snapshot(self) -> Snapshot:
        """The present state of the episode, from which any number of episodes can branch (`restore`).

        Raises:
            UserError: the simulator cannot save its state.
        """
        raise UserError(UNSAVED)

    def restore(self, snapshot: Snapshot) -> None:
        """Continues where a snapshot was taken, in this environment or another one of the same task and setting.

        Branches of one snapshot repeat each other bit for bit. They repeat the episode in which it was taken to within
        a millimetre where bodies stand or are held, and less well where they roll, swing or pour, because a
        simulator remembers more of its contacts than can be saved. The scene is built anew; bodies and recorders
        (`ContactRecorder`) of before belong to the old one.

        Raises:
            ValueError: the snapshot is of another task or setting.
            UserError: the simulator cannot save its state.
        """
        raise UserError(UNSAVED)

    def progress(self) -> float:
        """A privileged measure of how far the task is, in [0, 1]; 0 always where the task or backend has none."""
        return 0.0

    def watch_contacts(self) -> ContactRecorder | None:
        """A recorder of the present episode's contacts; None where the simulator does not show them at every step."""
        return None

    def expert_step(self) -> bool:
        """One control step of the backend's expert from wherever the episode is now; returns whether it is solved.

        Raises:
            UserError: the expert only solves scenes from their beginning.
        """
        raise UserError(NO_EXPERT_STEP)

    @abstractmethod
    def demonstrate(self, seed: int) -> Demonstration | None:
        """Lets the backend's expert solve the scene of a seed; None where it fails.

        Raises:
            FloatingPointError: the simulator observes NaN or infinity.
        """

    def provenance(self) -> dict[str, str]:
        """What a result file says about the simulator; empty for the built-in one."""
        return {}

    def info(self, success: bool) -> dict[str, Any]:
        """Gymnasium's info: `is_success`, `instruction` and `seed`."""
        return {"is_success": np.bool_(success), "instruction": self.instruction, "seed": np.int64(self.seed)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        if options and "snapshot" in options:
            self.restore(options["snapshot"])
        else:
            self.restart(int(self.np_random.integers(self.seed_limit)) if seed is None else seed)
        return self.observe(), self.info(False)

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        success = self.control(action)
        truncated = not success and self.steps >= self.step_limit
        return self.observe(), float(success), success, truncated, self.info(success)

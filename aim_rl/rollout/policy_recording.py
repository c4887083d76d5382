"""What a policy did in an episode, frame by frame as demonstrations are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aim_rl.data.demonstrate import gather_contacts
from aim_rl.data.episode import Contacts, Episode
from aim_rl.rollout.playing import actions_of
from aim_rl.rollout.policy import Policy
from aim_rl.runs.folder import one_thread
from envs.base import Observation, TaskEnv
from envs.observations import finite
from envs.wrappers import EpisodePrefix


class EpisodeRecorder:
    """Runs an episode and renders every control step, where a rollout renders every decision.

    Args:
        env: at the image sizes of the recording.
        seed: of the scene.

    Attributes:
        observation: the present one.
        solved: whether the task is.

    Raises:
        FloatingPointError: the simulator observes NaN or infinity.
    """

    def __init__(self, env: TaskEnv, seed: int) -> None:
        env.restart(seed)
        self._env, self._contacts = env, env.watch_contacts()
        self._frames: list[Observation] = []
        self._actions: list[NDArray[np.float32]] = []
        self.observation, self.solved = finite(env.observe()), False

    def step(self, action: NDArray[np.floating]) -> None:
        """One control step, in the environment's action mode. Raises as the constructor."""
        if self._contacts is not None:
            self._contacts.record()
        self._frames.append(self.observation)
        self.solved = self._env.control(action)
        self.observation = finite(self._env.observe())
        self._actions.append(self.observation["qpos"])

    def episode(self, setting: str) -> Episode:
        """The episode so far: `action` is the joints commanded in each frame, the first instruction the one given."""
        env, frames, contacts = self._env, len(self._frames), Contacts.empty(len(self._frames))
        if self._contacts is not None:
            self._contacts.record()
            contacts = gather_contacts(self._contacts.events(), self._contacts.poses, frames)
        stacked: dict[str, Any] = {key: np.stack([frame[key] for frame in self._frames]) for key in self._frames[0]}
        return Episode(
            **stacked,
            action=np.stack(self._actions),
            perturbed=np.zeros(frames, bool),
            instructions=list(dict.fromkeys([env.instruction, *env.instructions_by_split[env.instruction_split]])),
            contacts=contacts,
            contacts_recorded=self._contacts is not None,
            task=env.task_name,
            setting=setting,
            seed=env.seed,
            success=self.solved,
        )


@one_thread()  # as in evaluation, so that the recording shows the episode that was counted
@torch.no_grad()
def record_policy(policy: Policy, env: TaskEnv, seed: int, setting: str) -> tuple[Episode, np.ndarray]:
    """Rolls out one seed.

    Args:
        policy: decides.
        env: in the action mode "ee", at the image sizes of the policy's preset.
        seed: of the scene.
        setting: "clean" or "randomized", what `env` was made with.

    Returns:
        The episode of T frames. And u8 [T, h, w, 3]: the head camera's value map predicted with the last decision
        (red: left arm, green: right arm, blue: the larger of the two).

    Raises:
        FloatingPointError: the simulator observes NaN or infinity.
    """
    recorder = EpisodeRecorder(env, seed)
    maps = []
    for decision, action in actions_of(policy, env):
        recorder.step(action)
        maps.append((255 * decision["value_map"][0]).round().byte().movedim(0, -1).numpy())
        if recorder.solved or env.steps >= env.step_limit:
            break
    return recorder.episode(setting), np.stack(maps)


def repeat(env: TaskEnv, prefix: EpisodePrefix, setting: str) -> Episode:
    """Runs an episode again: the same actions on the same seed.

    Args:
        env: in the action mode of the actions.
        prefix: its seed and its actions, one per control step.
        setting: "clean" or "randomized", what `env` was made with.

    Raises:
        FloatingPointError: the simulator observes NaN or infinity.
    """
    recorder = EpisodeRecorder(env, prefix.seed)
    for action in prefix.actions:
        recorder.step(action)
    return recorder.episode(setting)

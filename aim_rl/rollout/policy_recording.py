"""What a policy did in an episode, frame by frame as demonstrations are kept."""

from __future__ import annotations

from collections.abc import Callable
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

HANDOVER_SHARE = 1 / 6  # of the task's step limit, which is generous: experts need a tenth of it


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
        self._perturbed: list[bool] = []
        self.observation, self.solved = finite(env.observe()), False

    def step(self, action: NDArray[np.floating], perturbed: bool = False) -> None:
        """One control step, in the environment's action mode; `perturbed`: it is not to be imitated.

        Raises as the constructor.
        """
        self._record(lambda: self._env.control(action), perturbed)

    def expert_step(self) -> None:
        """One control step of the environment's expert. Raises as the constructor; UserError: it cannot take over."""
        self._record(self._env.expert_step, perturbed=False)

    def _record(self, control: Callable[[], bool], perturbed: bool) -> None:
        if self._contacts is not None:
            self._contacts.record()
        self._frames.append(self.observation)
        self.solved = control()
        self.observation = finite(self._env.observe())
        self._actions.append(self.observation["qpos"])
        self._perturbed.append(perturbed)

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
            perturbed=np.array(self._perturbed),
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


@one_thread()
@torch.no_grad()
def correct(policy: Policy, env: TaskEnv, prefix: EpisodePrefix, setting: str) -> Episode | None:
    """The policy begins an episode, the expert solves it from where the policy has come (DAgger, Ross et al. 2011).

    The policy acts for a number of control steps that is drawn uniformly up to `HANDOVER_SHARE` of the task's limit.
    Its steps are marked as perturbed: Stage I learns what the expert does in the states that the policy reaches.

    Args:
        policy: acts first.
        env: as for `record_policy`.
        prefix: its seed.
        setting: "clean" or "randomized", what `env` was made with.

    Returns:
        The episode; None if the policy solved the scene by itself, or the expert did not in half the task's limit.

    Raises:
        FloatingPointError: the simulator observes NaN or infinity.
        UserError: the environment's expert cannot take over.
    """
    recorder = EpisodeRecorder(env, prefix.seed)
    latest = max(1, round(env.step_limit * HANDOVER_SHARE))
    handover = int(np.random.default_rng([prefix.seed, 2]).integers(1, latest, endpoint=True))
    for _, action in actions_of(policy, env):
        recorder.step(action, perturbed=True)
        if recorder.solved or env.steps >= handover:
            break
    if recorder.solved:
        return None
    while not recorder.solved and env.steps < handover + env.step_limit // 2:
        recorder.expert_step()
    return recorder.episode(setting) if recorder.solved else None


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

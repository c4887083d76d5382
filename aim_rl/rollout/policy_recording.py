"""What a policy did in an episode, frame by frame as demonstrations are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from aim_rl.data.episode import Contacts, Episode
from aim_rl.rollout.policy import Policy
from aim_rl.runs.folder import one_thread
from envs.base import Observation, TaskEnv
from envs.observations import finite


@one_thread()  # as in evaluation, so that the recording shows the episode that was counted
@torch.no_grad()
def record_policy(policy: Policy, env: TaskEnv, seed: int, setting: str) -> tuple[Episode, np.ndarray]:
    """Rolls out one seed and renders every control step, where an evaluation renders every decision.

    Args:
        policy: decides.
        env: in the action mode "ee", at the image sizes of the policy's preset.
        seed: of the scene.
        setting: "clean" or "randomized", what `env` was made with.

    Returns:
        The episode: T frames, `action` the joints commanded in each of them. And u8 [T, h, w, 3]: the head camera's
        value map predicted with the last decision (red: left arm, green: right arm, blue: the larger of the two).

    Raises:
        FloatingPointError: the simulator observes NaN or infinity.
    """
    env.restart(seed)
    observation, text = finite(env.observe()), policy.model.text.tokenize(env.instruction)
    frames: list[Observation] = []
    actions, maps, decisions, solved = [], [], 0, False
    while not solved and env.steps < env.step_limit:
        observed = {key: torch.from_numpy(value) for key, value in observation.items()}
        observed |= {"text": text, "decision": torch.tensor([decisions])}
        decision = policy(TensorDict(observed, []).unsqueeze(0))[0]
        value_map = (255 * decision["value_map"][0]).round().byte().movedim(0, -1).numpy()
        for row in decision["action"].numpy():
            frames.append(observation)
            maps.append(value_map)
            solved = env.control(row)
            observation = finite(env.observe())
            actions.append(observation["qpos"])
            if solved or env.steps >= env.step_limit:
                break
        decisions += 1
    stacked: dict[str, Any] = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}
    episode = Episode(
        **stacked,
        action=np.stack(actions),
        perturbed=np.zeros(len(frames), bool),
        instructions=[env.instruction],
        contacts=Contacts.empty(len(frames)),
        contacts_recorded=False,
        task=env.task_name,
        setting=setting,
        seed=seed,
        success=solved,
    )
    return episode, np.stack(maps)

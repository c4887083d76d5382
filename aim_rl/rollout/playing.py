"""What a policy does in one environment, control step by control step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from aim_rl.rollout.policy import Policy
from envs.base import TaskEnv
from envs.observations import finite


def actions_of(policy: Policy, env: TaskEnv) -> Iterator[tuple[Mapping[str, Tensor], NDArray]]:
    """The policy's actions from the environment's present state on, without end; the caller executes them.

    Args:
        policy: decides.
        env: restarted, in the action mode "ee", at the image sizes of the policy's preset.

    Yields:
        What the policy observed and answered the last time (`Policy`), and the action f32 [16] of one control step.

    Raises:
        FloatingPointError: the simulator observes NaN or infinity.
    """
    text, decisions = policy.model.text.tokenize(env.instruction), 0
    while True:
        observed = {key: torch.from_numpy(value) for key, value in finite(env.observe()).items()}
        observed |= {"text": text, "decision": torch.tensor([decisions])}
        decision = dict(policy(TensorDict(observed, []).unsqueeze(0))[0].items())
        for action in decision["action"].numpy():
            yield decision, action
        decisions += 1

"""Value-map reward for any Gymnasium environment and library."""

from collections.abc import Callable
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import torch

from rewards.response import landing_response
from rewards.shaping import RewardConfig, chunk_reward


class ValueMapReward(gym.Wrapper[Any, Any, Any, Any]):
    """Replaces the reward by lambda_d * map response + lambda_s * success, summed over the chunk.

    Maps and landing points are computed from the observation the action was chosen on. The info
    gains `reward_dense` and `reward_sparse`, np.float32 [h]: per control step, before the weights,
    zero after the end of the episode.

    Args:
        env: takes single actions [A] (h = 1; success is `info["is_success"]`) or chunks [h, A]
            (its info then carries `step_success` and `executed`, bool [h]). Its observation is a
            dict with `head_camera` [H, W, 3], `head_camera_intrinsic` [3, 3] (px) and
            `head_camera_extrinsic` [3, 4] (world to camera, OpenCV).
        maps: observation -> head camera's value maps [F, 3, H, W] in [0, 1].
        landing: (observation, action) -> tool-centre points [n, 2, 3] of the commanded action
            (left, right), m, world frame; n >= h are the control steps that the maps span.
        config: the two weights.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        maps: Callable[[dict[str, Any]], np.ndarray],
        landing: Callable[[dict[str, Any], np.ndarray], np.ndarray],
        config: RewardConfig,
    ) -> None:
        super().__init__(env)
        self.maps = maps
        self.landing = landing
        self.config = config
        self._observation: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        self._observation, info = self.env.reset(seed=seed, options=options)
        return self._observation, info

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        dense = self._dense(action)[: 1 if action.ndim == 1 else len(action)]
        self._observation, _, terminated, truncated, info = self.env.step(action)
        if action.ndim == 1:
            success, executed = torch.tensor([bool(info["is_success"])]), torch.ones(1, dtype=torch.bool)
        else:
            success, executed = torch.as_tensor(info["step_success"]), torch.as_tensor(info["executed"])
        reward = chunk_reward(dense, success, executed, self.config)
        info["reward_dense"] = (dense * executed).numpy()
        info["reward_sparse"] = (success & executed).float().numpy()
        return self._observation, float(reward.sum()), terminated, truncated, info

    def _dense(self, action: np.ndarray) -> torch.Tensor:
        """Response [n] to a commanded action, read from the observation it was chosen on."""
        observation = self._observation
        height, width = observation["head_camera"].shape[:2]
        return landing_response(
            torch.as_tensor(self.maps(observation), dtype=torch.float32),
            torch.as_tensor(self.landing(observation, action)),
            torch.as_tensor(observation["head_camera_intrinsic"]),
            torch.as_tensor(observation["head_camera_extrinsic"]),
            (height, width),
        )

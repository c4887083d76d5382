"""Value-map reward for any Gymnasium environment and library."""

from collections.abc import Callable
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rewards.maps import UNIFORM, moved_on
from rewards.response import MapResponses, frame_after, map_responses
from rewards.shaping import Episode, RewardConfig, chunk_reward, dense_reward


class ValueMapReward(gym.Wrapper[Any, Any, Any, Any]):
    """Replaces the reward by lambda_d * dense + lambda_s * success, summed over the chunk.

    Maps and commanded TCP positions come from the observation that the action was chosen on; some shapings also read
    the maps of the previous and the next observation. `info` gains `reward_dense` and `reward_sparse`, np.float32 [h]:
    per control step, before the weights, zero after the end of the episode.

    Args:
        env: takes single actions [A] (h = 1; success is `info["is_success"]`) or chunks [h, A] (its info or observation
            then has `step_success` and `executed`, bool [h]). Its observation is a dict with `head_camera` [H, W, 3],
            `head_camera_intrinsic` [3, 3] (px) and `head_camera_extrinsic` [3, 4] (world to camera, OpenCV), for the
            privileged reward also `progress` [h].
        maps: observation -> head camera's value maps [F, 3, H, W] in [0, 1].
        commanded_tcp: (observation, action) -> commanded TCP positions [n, 2, 3] (left, right), m, world frame; the
            maps span these n >= h control steps.
        config: weights and shaping.

    Attributes:
        trained: finished share of the training, in [0, 1], for `RewardConfig.anneal`; the training loop sets it.

    Raises:
        ValueError: the config reads maps of another decision or scene, which a running episode does not have, or wants
            the privileged reward of observations without `progress`.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        maps: Callable[[dict[str, Any]], np.ndarray],
        commanded_tcp: Callable[[dict[str, Any], np.ndarray], np.ndarray],
        config: RewardConfig,
    ) -> None:
        if config.maps not in ("refreshed", "held", "uniform"):
            raise ValueError(f"maps {config.maps!r} need a batch of whole rollouts: use ValueMapRewardTransform")
        if config.shaping == "privileged" and "progress" not in getattr(env.observation_space, "spaces", {}):
            raise ValueError("the privileged reward needs observations with `progress`, as the chunk wrapper adds it")
        super().__init__(env)
        self.maps = maps
        self.commanded_tcp = commanded_tcp
        self.config = config
        self.trained = 0.0
        self._observation: dict[str, Any] = {}
        self._maps = self._before = self._held = torch.empty(0)
        self._event = 0
        self._rows: list[tuple[Tensor, ...]] = []  # one row per decision of this episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        self._observation, info = self.env.reset(seed=seed, options=options)
        self._rows, self._event, self._held = [], 0, torch.empty(0)
        self._read_maps()
        self._before = self._maps[0]
        return self._observation, info

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        observation, maps, event = self._observation, self._maps, self._event
        commanded_tcp = torch.as_tensor(self.commanded_tcp(observation, action))
        self._observation, _, terminated, truncated, info = self.env.step(action)
        if action.ndim == 1:
            success, executed = torch.tensor([bool(info["is_success"])]), torch.ones(1, dtype=torch.bool)
        else:
            source = info if "executed" in info else self._observation
            success, executed = torch.as_tensor(source["step_success"]), torch.as_tensor(source["executed"])
        success = success & executed
        followed = not (terminated or truncated)
        if followed:
            self._read_maps()
        camera = (
            torch.as_tensor(observation["head_camera_intrinsic"]),
            torch.as_tensor(observation["head_camera_extrinsic"]),
            observation["head_camera"].shape[:2],
        )
        flags = torch.tensor(event), commanded_tcp, executed, torch.tensor(followed)
        responses = map_responses(maps, self._before, self._maps[0], *flags, camera)
        self._before = maps[frame_after(len(executed), len(commanded_tcp), len(maps))]
        row = (*responses, success, executed)
        if self.config.shaping == "privileged":
            row += (torch.as_tensor(np.append(observation["progress"][-1], self._observation["progress"])),)
        self._rows.append(row)
        dense = self._dense()
        info["reward_dense"], info["reward_sparse"] = dense.numpy(), success.float().numpy()
        reward = chunk_reward(dense, success, executed, self.config, self.trained).sum()
        return self._observation, float(reward), terminated, truncated, info

    def _dense(self) -> Tensor:
        """Dense reward [h] of the newest decision, from the episode so far."""
        *responses, success, executed = (torch.stack(column) for column in list(zip(*self._rows, strict=True))[:6])
        progress = torch.stack([row[6] for row in self._rows]) if len(self._rows[0]) > 6 else None
        episode = Episode(MapResponses(*responses), success, executed, self.config.gamma, progress)
        return dense_reward(episode, self.config.shaping)[-1]

    def _read_maps(self) -> None:
        maps = torch.as_tensor(self.maps(self._observation), dtype=torch.float32)
        if self.config.maps == "uniform":
            maps = torch.full_like(maps, UNIFORM)
        if len(self._held) == 0:
            self._held = maps[0]
        if moved_on(self._held, maps[0]):
            self._held, self._event = maps[0], self._event + 1
        self._maps = self._held.expand_as(maps) if self.config.maps == "held" else maps

"""Value-map reward as a TorchRL transform of collected rollouts."""

from typing import cast

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.envs import Transform

from rewards.maps import MAPS, events
from rewards.response import MapResponses, frame_after, map_responses
from rewards.shaping import Episode, RewardConfig, chunk_reward, chunk_sum, dense_reward


class ValueMapRewardTransform(Transform):
    """Replaces the reward of a chunk environment by the composed reward of the chunk.

    Call it on rollouts, not inside an environment: `settled` reads the map of the next decision, which the policy has
    not predicted yet when the environment returns.

    Reads, for batch dimensions [..., T], T decisions of one episode in order:
        `value_map` [..., T, F, 3, H, W], head camera's maps in [0, 1], and `commanded_tcp` [..., T, n, 2, 3],
            tool-centre points of the commanded action (m, world frame). The maps span all n control steps of
            the chunk, of which the environment executed the first h;
        `head_camera_intrinsic` [..., T, 3, 3] (px) and `head_camera_extrinsic` [..., T, 3, 4] (world to camera);
        ("collector", "mask") bool [..., T], false for padding;
        ("next", "step_success") and ("next", "executed"), bool [..., T, h], from the chunk wrapper;
        `seed` i64 [..., T, 1], only for maps of another scene;
        `progress` and ("next", "progress") [..., T, h], from the chunk wrapper, only for the privileged reward.

    Writes, float32, zero after the end of the episode:
        ("next", "reward_dense") and ("next", "reward_sparse") [..., T, h], per control step, before the weights;
        ("next", "response") [..., T, h], the response of the predicted maps, also where the reward reads other maps;
        ("next", "reward") [..., T, 1], the composed reward summed over the chunk.

    Args:
        config: weights and shaping.
        image_size: (H, W) of the head image as delivered, px.

    Attributes:
        trained: finished share of the training, in [0, 1], for `RewardConfig.anneal`; the training loop sets it.
    """

    def __init__(self, config: RewardConfig, image_size: tuple[int, int]) -> None:
        outputs = ["reward_dense", "reward_sparse", "response", "reward"]
        super().__init__(in_keys=["step_success", "executed"], out_keys=outputs)
        self.config = config
        self.image_size = image_size
        self.trained = 0.0

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes the rewards of rollouts [..., T] into `tensordict` and returns it."""
        after, mask, config = cast(TensorDictBase, tensordict["next"]), tensordict["collector", "mask"], self.config
        executed = after["executed"] & mask[..., None]
        success = after["step_success"] & executed
        predicted = cast(Tensor, tensordict["value_map"].float())
        seed = tensordict["seed"][..., 0, 0] if "seed" in tensordict else torch.zeros(mask.shape[:-1])
        responses = self._map_responses(MAPS[config.maps](predicted, mask, seed), executed, tensordict)
        progress = None
        if config.shaping == "privileged":
            progress = torch.cat([tensordict["progress"][..., -1:], after["progress"]], -1)
        dense = dense_reward(Episode(responses, success, executed, config.gamma, progress), config.shaping)
        if config.maps != "refreshed":
            responses = self._map_responses(predicted, executed, tensordict)
        after["response"] = responses.response
        after["reward_dense"], after["reward_sparse"] = dense, success.float()
        after["reward"] = chunk_sum(chunk_reward(dense, success, executed, config, self.trained))
        return tensordict

    def _map_responses(self, maps: Tensor, executed: Tensor, rollouts: TensorDictBase) -> MapResponses:
        commanded_tcp, mask = rollouts["commanded_tcp"], rollouts["collector", "mask"]
        time, count = maps.ndim - 5, mask.shape[-1]
        first = maps.select(time + 1, 0)
        shown = maps.select(time + 1, frame_after(executed.shape[-1], commanded_tcp.shape[-3], maps.shape[time + 1]))
        before = torch.cat([first.narrow(time, 0, 1), shown.narrow(time, 0, count - 1)], time)
        after = torch.cat([first.narrow(time, 1, count - 1), first.narrow(time, count - 1, 1)], time)
        followed = torch.cat([mask[..., 1:], torch.zeros_like(mask[..., :1])], -1)
        camera = rollouts["head_camera_intrinsic"], rollouts["head_camera_extrinsic"], self.image_size
        return map_responses(maps, before, after, events(first)[0], commanded_tcp, executed, followed, camera)

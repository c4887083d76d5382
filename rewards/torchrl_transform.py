"""Value-map reward as a TorchRL transform, inside an environment or on stored data."""

import torch
from tensordict import TensorDictBase
from torchrl.data import Composite, TensorSpec, Unbounded
from torchrl.envs import Transform

from rewards.response import landing_response
from rewards.shaping import RewardConfig, chunk_reward, chunk_sum


class ValueMapRewardTransform(Transform):
    """Replaces the reward of a chunk environment by the composed reward of the chunk.

    Reads, for batch dimensions [...]:
        `value_map` [..., F, 3, H, W], head camera's maps in [0, 1], and `landing` [..., n, 2, 3],
            tool-centre points of the commanded action (m, world frame), at the root: the policy
            writes both beside the action. The maps span all n control steps of the chunk, of which
            the environment executes the first h;
        `head_camera_intrinsic` [..., 3, 3] (px) and `head_camera_extrinsic` [..., 3, 4] (world to
            camera), at the root;
        ("next", "step_success") and ("next", "executed"), bool [..., h], from the chunk wrapper.

    Writes, float32:
        ("next", "reward_dense") and ("next", "reward_sparse") [..., h], per control step, before
            the weights, zero after the end of the episode;
        ("next", "reward") [..., 1], the composed reward summed over the chunk.
    All three are reward entries of the environment's specs, so they are not carried to the root of
    the next step.

    Args:
        config: the two weights.
        image_size: (H, W) of the head image as delivered, px.
    """

    def __init__(self, config: RewardConfig, image_size: tuple[int, int]) -> None:
        super().__init__(in_keys=["step_success", "executed"], out_keys=["reward_dense", "reward_sparse", "reward"])
        self.config = config
        self.image_size = image_size

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        success, executed = next_tensordict["step_success"], next_tensordict["executed"]
        dense = landing_response(
            tensordict["value_map"].float(),
            tensordict["landing"],
            tensordict["head_camera_intrinsic"],
            tensordict["head_camera_extrinsic"],
            self.image_size,
        )[..., : executed.shape[-1]]
        next_tensordict["reward_dense"] = dense * executed
        next_tensordict["reward_sparse"] = (success & executed).float()
        next_tensordict["reward"] = chunk_sum(chunk_reward(dense, success, executed, self.config))
        return next_tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes the rewards of stored transitions, a replay buffer's sample for one."""
        tensordict["next"] = self._step(tensordict, tensordict["next"])
        return tensordict

    def transform_reward_spec(self, reward_spec: TensorSpec) -> TensorSpec:
        assert self.parent is not None  # specs exist inside an environment only
        per_step = self.parent.full_observation_spec["step_success"]
        rewards = reward_spec.clone() if isinstance(reward_spec, Composite) else Composite(reward=reward_spec)
        rewards["reward"] = Unbounded(torch.Size([*per_step.shape[:-1], 1]), device=per_step.device)
        for key in ("reward_dense", "reward_sparse"):
            rewards[key] = Unbounded(per_step.shape, device=per_step.device)
        return rewards

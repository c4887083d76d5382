"""Composition of the dense response with task success, per control step of a chunk."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RewardConfig:
    """Weights of r_t = lambda_dense * r_dense + lambda_sparse * r_sparse.

    Success ends an episode and with it the dense income. Unless lambda_sparse exceeds lambda_dense
    times the control steps that are left, lingering on a peak pays more than finishing.
    """

    lambda_dense: float
    lambda_sparse: float


def chunk_reward(dense: Tensor, success: Tensor, executed: Tensor, config: RewardConfig) -> Tensor:
    """AIM's additive reward per control step: r_t = lambda_d * r_dense,t + lambda_s * r_sparse,t.

    Args:
        dense: [..., h], response of the map in [0, 1].
        success: [..., h], true on the step that succeeds.
        executed: [..., h], bool; false for steps after the episode ended inside the chunk, which
            earn nothing. The step that ends the episode counts as executed.
        config: the two weights.

    Returns:
        [..., h].

    Raises:
        ValueError: if the three shapes differ, which would broadcast without a word.
    """
    if not dense.shape == success.shape == executed.shape:
        raise ValueError(
            f"dense {list(dense.shape)}, success {list(success.shape)} and executed "
            f"{list(executed.shape)} must have one shape [..., h]"
        )
    reward = config.lambda_dense * dense + config.lambda_sparse * success
    return reward * executed


def chunk_sum(reward: Tensor) -> Tensor:
    """Reward of a whole chunk: [..., h] -> [..., 1], the undiscounted sum over its control steps."""
    return reward.sum(-1, keepdim=True)

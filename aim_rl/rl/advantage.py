"""Advantages of Stage II: group-relative without a critic (GRPO), or generalized advantage estimation with one."""

from __future__ import annotations

import torch
from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate

GAE_STD_FLOOR = 0.03
"""Smallest divisor, far below the usual one. In a batch in which nothing succeeds only the critic's error is left,
which must not become gradient."""


def returns_to_go(reward: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Discounted return to go: R_t = r_t + gamma R_{t+1}.

    Args:
        reward: [N, T], reward of each decision (the sum over its chunk).
        mask: bool [N, T], which decisions were taken: the first ones of each row.
        gamma: discount per decision.

    Returns:
        [N, T], zero where the mask is false.
    """
    returns, running = torch.zeros_like(reward), torch.zeros_like(reward[:, 0])
    for t in reversed(range(reward.shape[1])):
        running = torch.where(mask[:, t], reward[:, t] + gamma * running, torch.zeros_like(running))
        returns[:, t] = running
    return returns


def group_advantage(returns: Tensor, mask: Tensor, group: Tensor, std_floor: float) -> Tensor:
    """Per-chunk group-relative advantage.

    Each return is compared with the mean over the rollouts of its group that took the same decision (same
    seed, same decision index), and divided by the group's standard deviation over all decisions, at least
    `std_floor`, so that a group of equal returns does not turn noise into gradient.

    Args:
        returns: [N, T] returns to go.
        mask: bool [N, T].
        group: i64 [N], number of each rollout's group.
        std_floor: smallest divisor.

    Returns:
        [N, T], zero where the mask is false.
    """
    advantage = torch.zeros_like(returns)
    for number in group.unique():
        rows = group == number
        taken = mask[rows]
        count = taken.sum(0).clamp_min(1)
        centred = torch.where(taken, returns[rows] - (returns[rows] * taken).sum(0) / count, 0.0)
        spread = (centred.square().sum() / taken.sum()).sqrt()
        advantage[rows] = centred / spread.clamp_min(std_floor)
    return advantage


def trajectory_advantage(returns: Tensor, mask: Tensor, group: Tensor, std_floor: float) -> Tensor:
    """Whole-trajectory GRPO: every decision of a rollout gets the standardised return of its first decision.

    Shapes as in `group_advantage`.
    """
    advantage = torch.zeros_like(returns)
    for number in group.unique():
        rows = group == number
        total = returns[rows, 0]
        scaled = (total - total.mean()) / total.std(correction=0).clamp_min(std_floor)
        advantage[rows] = scaled[:, None] * mask[rows]
    return advantage


def gae_advantage(reward: Tensor, value: Tensor, mask: Tensor, gamma: float, lmbda: float) -> Tensor:
    """Generalized advantage estimates, standardised over the batch (divided by at least `GAE_STD_FLOOR`).

    A rollout ends with its last decision, by success or by the step limit; nothing is bootstrapped.

    Args:
        reward, value: [N, T], reward and predicted return to go of each decision.
        mask: bool [N, T].
        gamma, lmbda: discount and trace decay per decision.

    Returns:
        [N, T], zero where the mask is false.
    """
    following = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    value = value * mask
    next_value = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    advantage, _ = generalized_advantage_estimate(
        gamma, lmbda, *(x[..., None] for x in (value, next_value, reward * mask, ~following))
    )
    advantage = advantage[..., 0]
    mean, std = advantage[mask].mean(), advantage[mask].std(correction=0)
    return (advantage - mean) / std.clamp_min(GAE_STD_FLOOR) * mask


def mixed_groups(success: Tensor, group: Tensor) -> Tensor:
    """Bool [N]: rollouts whose group has both outcomes of task success [N]; shaped reward does not count."""
    kept = torch.zeros_like(success, dtype=torch.bool)
    for number in group.unique():
        rows = group == number
        kept[rows] = bool(success[rows].any() and not success[rows].all())
    return kept

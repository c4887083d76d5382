"""Shapings of the dense reward, and its composition with task success, per control step of a chunk.

Symbols: an episode has control steps k = 1 .. K in T decisions t = 0 .. T-1 of h control steps each (the last may be
shorter). x_k = M_t(Π(p_k)) is the response of decision t's map at the commanded TCP position of step k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from rewards.maps import MapSource
from rewards.response import MapResponses

Shaping = Literal[
    "sparse",
    "additive",
    "length_normalised",
    "best_so_far",
    "potential",
    "gated",
    "settled",
    "privileged",
]


@dataclass(frozen=True)
class RewardConfig:
    """r_k = lambda_dense * r_dense,k + lambda_sparse * r_sparse,k, with r_dense by `shaping` and `maps`."""

    lambda_dense: float
    lambda_sparse: float
    shaping: Shaping = "settled"
    """A row of `SHAPINGS`."""
    gamma: float = 1.0
    """Discount per decision of `potential`; must be the learner's, or the shaping changes the optimum."""
    maps: MapSource = "refreshed"
    """Which maps are read: a row of `rewards.maps.MAPS`."""
    anneal: bool = False
    """Whether lambda_dense falls linearly to 0 over the training."""


@dataclass(frozen=True)
class Episode:
    """Inputs of a shaping. Leading axes are episodes."""

    responses: MapResponses
    """Readings of the maps, float32 [..., T, h] or [..., T]."""
    success: Tensor
    """Bool [..., T, h]: true on the control step that succeeds."""
    executed: Tensor
    """Bool [..., T, h]: false after the end of the episode."""
    gamma: float = 1.0
    progress: Tensor | None = None
    """[..., T, h + 1] in [0, 1]: the task's progress in the simulator, before and after each control step."""


def sparse(episode: Episode) -> Tensor:
    """r_dense,k = 0: success alone."""
    return torch.zeros_like(episode.responses.response)


def additive(episode: Episode) -> Tensor:
    """r_dense,k = x_k: the paper's (docs/method.md).

    Success ends the episode and with it this income: unless lambda_sparse exceeds lambda_dense times the remaining
    control steps, hovering at a peak pays more than success.
    """
    return episode.responses.response


def length_normalised(episode: Episode) -> Tensor:
    """r_dense,k = x̄_k - x̄_{k-1}, where x̄_k = (x_1 + .. + x_k) / k and x̄_0 = 0.

    An episode earns x̄_K, the mean response of its control steps, whatever its length. The differences can be paid while
    the episode runs.
    """
    mean = _running_mean(episode)
    return _by_decision(mean.diff(prepend=torch.zeros_like(mean[..., :1])), episode)


def best_so_far(episode: Episode) -> Tensor:
    """r_dense,k = max(0, x_k - b_{k-1}), b_{k-1} the largest response since the event began (0 where it begins).

    An event earns its best response once; staying and returning earn nothing. A new event begins where the map has
    moved on (`rewards.maps.events`).
    """
    # With the event's number added, the best of one event (at most 1) is where the next begins, 0.
    event = episode.responses.event[..., None].expand(episode.executed.shape).flatten(-2).double()
    x = event + (episode.responses.response.double() * episode.executed).flatten(-2)
    before = F.pad(x.cummax(-1).values[..., :-1], (1, 0))
    return _by_decision((x - torch.maximum(before, event)).clamp_min(0), episode)


def potential(episode: Episode) -> Tensor:
    """r_dense = γ Φ_{t+1} - Φ_t on the last control step of decision t (Ng, Harada and Russell 1999).

    Φ_t = M_t(Π(p)), the response of the newest map at the last commanded TCP position. Φ_0 = 0, and Φ = 0 after the
    last decision, whether by success or by the step limit, as invariance requires (Grzes 2017). From any decision on
    the discounted sum is -Φ_t for every policy: the optimal policy does not change, and returns shift by a baseline.
    """
    arrived = episode.responses.arrived
    here = F.pad(arrived[..., :-1], (1, 0))
    last = F.one_hot((episode.executed.sum(-1) - 1).clamp_min(0), episode.executed.shape[-1])
    return (episode.gamma * arrived - here)[..., None] * last


def gated(episode: Episode) -> Tensor:
    """r_dense,K = x̄_K on the control step that succeeds, else 0: a success that followed the maps earns more."""
    return _by_decision(_running_mean(episode), episode) * episode.success


def settled(episode: Episode) -> Tensor:
    """r_dense,k = B_t(Π(p_k)) - A_t(Π(p_k)) on the control step k of decision t where it is farthest from 0, else 0.

    It pays when the map stops asking for the contact where the tool is, and takes the payment back if the map asks
    again (`rewards.response.settled_response`). B_t is the map that decision t-1 predicted for the start of decision t
    (B_0: first frame of M_0), A_t the first frame that decision t+1 predicts. The last decision of an episode earns
    nothing: no map follows, and success is paid separately.

    A_t shows a moment of decision t+1, so windows overlap: an arm that leaves at once is paid once for a contact, an
    arm that stays for the next decision twice. A contact that is undone is charged only on decisions that send the tool
    there. So two exploits remain: lingering while the map fades, and undoing a contact after the arm has left (a block
    that falls later). `watch/alarm` (aim_rl/rl/hacking_watch.py) looks for both.
    """
    return episode.responses.settled


def privileged(episode: Episode) -> Tensor:
    """r_dense,k = P_k - P_{k-1}, P in [0, 1] the task's progress in the simulator: an upper bound for every map.

    An episode earns P_K - P_0. Only for tasks that define `Task.progress` (envs/tabletop/task.py).

    Raises:
        ValueError: the observations carry no progress.
    """
    if episode.progress is None:
        raise ValueError("the privileged reward needs observations with `progress`, as the chunk wrapper adds it")
    return episode.progress.diff(dim=-1)


SHAPINGS: dict[Shaping, Callable[[Episode], Tensor]] = {
    "sparse": sparse,
    "additive": additive,
    "length_normalised": length_normalised,
    "best_so_far": best_so_far,
    "potential": potential,
    "gated": gated,
    "settled": settled,
    "privileged": privileged,
}
"""name -> function of an `Episode`; returns r_dense [..., T, h]. Decision t's reward may depend on decisions 0 .. t and
on the map of t + 1, not on later ones, so that the Gymnasium wrapper can pay it while the episode runs."""


def dense_reward(episode: Episode, shaping: Shaping) -> Tensor:
    """r_dense, float32 [..., T, h], by a row of `SHAPINGS`; 0 after the end of the episode."""
    return (SHAPINGS[shaping](episode) * episode.executed).float()


def chunk_reward(
    dense: Tensor, success: Tensor, executed: Tensor, config: RewardConfig, trained: float = 0.0
) -> Tensor:
    """Composed reward per control step: r_k = λ_d·r_dense,k + λ_s·r_sparse,k; with `anneal`, λ_d·(1 - trained).

    Args:
        dense: [..., h], dense reward.
        success: [..., h], true on the step that succeeds.
        executed: [..., h], bool; false for control steps after the end of the episode, which earn nothing. The step
            that ends the episode counts as executed.
        config: the weights.
        trained: finished share of the training, in [0, 1].

    Returns:
        [..., h].

    Raises:
        ValueError: the three shapes differ; they would broadcast silently.
    """
    if not dense.shape == success.shape == executed.shape:
        raise ValueError(
            f"dense {list(dense.shape)}, success {list(success.shape)} and executed "
            f"{list(executed.shape)} must have one shape [..., h]"
        )
    lambda_dense = config.lambda_dense * (1 - trained if config.anneal else 1)
    return (lambda_dense * dense + config.lambda_sparse * success) * executed


def chunk_sum(reward: Tensor) -> Tensor:
    """Reward of a whole chunk: [..., h] -> [..., 1], the undiscounted sum over its control steps."""
    return reward.sum(-1, keepdim=True)


def _running_mean(episode: Episode) -> Tensor:
    """x̄_k over the control steps k of an episode, [..., T * h], in double."""
    x = (episode.responses.response.double() * episode.executed).flatten(-2)
    return x.cumsum(-1) / episode.executed.flatten(-2).cumsum(-1).clamp_min(1)


def _by_decision(steps: Tensor, episode: Episode) -> Tensor:
    """[..., T * h] -> [..., T, h]."""
    return steps.unflatten(-1, episode.executed.shape[-2:])

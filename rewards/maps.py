"""Which value maps the reward reads: as predicted, held per event, or a negative control (`--maps`)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

MapSource = Literal["refreshed", "held", "uniform", "other_decision", "other_scene"]

UNIFORM = 0.5  # height of the uniform control


def moved_on(held: Tensor, new: Tensor) -> Tensor:
    """Whether the event of the held map is over: at its peak, the new map is below half of its height.

    Args:
        held, new: value maps [..., 3, H, W]; only the arms' channels count (0 left, 1 right).

    Returns:
        bool [...].
    """
    peak, place = held[..., :2, :, :].flatten(-3).max(-1, keepdim=True)
    return (new[..., :2, :, :].flatten(-3).gather(-1, place) < peak / 2)[..., 0]


def events(first: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers the events of an episode.

    Args:
        first: [..., T, 3, H, W], first frame of each decision's maps.

    Returns:
        event: i64 [..., T], number of the current event, from 0.
        held: [..., T, 3, H, W], first map of the current event.
    """
    time = first.ndim - 4
    held, number = first.select(time, 0), first.new_zeros(first.shape[:time], dtype=torch.int64)
    numbers, maps = [], []
    for new in first.unbind(time):
        over = moved_on(held, new)
        held, number = torch.where(over[..., None, None, None], new, held), number + over
        numbers.append(number)
        maps.append(held)
    return torch.stack(numbers, time), torch.stack(maps, time)


def refreshed(maps: Tensor, mask: Tensor, seed: Tensor) -> Tensor:
    """The maps as every decision predicted them."""
    return maps


def held(maps: Tensor, mask: Tensor, seed: Tensor) -> Tensor:
    """The first map of an event, for all frames until the event is over, so that the map cannot follow the gripper."""
    return events(maps[..., 0, :, :, :])[1].unsqueeze(-4).expand_as(maps)


def uniform(maps: Tensor, mask: Tensor, seed: Tensor) -> Tensor:
    """Control: `UNIFORM` everywhere. The reward keeps its scale but knows no place."""
    return torch.full_like(maps, UNIFORM)


def other_decision(maps: Tensor, mask: Tensor, seed: Tensor) -> Tensor:
    """Control: decision t of n reads the maps of decision (t + n // 2) mod n of its own rollout."""
    count, t = mask.sum(-1, keepdim=True), torch.arange(mask.shape[-1], device=mask.device)
    source = torch.where(mask, (t + count // 2) % count.clamp_min(1), t)
    return maps.gather(maps.ndim - 5, source[..., None, None, None, None].expand_as(maps))


def other_scene(maps: Tensor, mask: Tensor, seed: Tensor) -> Tensor:
    """Control: a rollout reads the maps of the next rollout in the batch with another seed, decision by decision.

    Raises:
        ValueError: the batch is not [N, T], or has one seed only.
    """
    if mask.ndim != 2 or len(seed.unique()) < 2:
        raise ValueError("maps of another scene need a batch of rollouts [N, T] with at least two seeds")
    rows = torch.arange(len(seed))
    partner = [next(j for j in (*rows[i + 1 :], *rows[:i]) if seed[j] != seed[i]) for i in rows]
    partner = torch.stack(partner)
    last = mask.sum(-1)[partner] - 1  # after the end of a shorter partner, its last maps
    t = torch.minimum(torch.arange(mask.shape[-1]), last[:, None])
    return maps[partner[:, None], t]


MAPS: dict[MapSource, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "refreshed": refreshed,
    "held": held,
    "uniform": uniform,
    "other_decision": other_decision,
    "other_scene": other_scene,
}
"""name -> (maps [..., T, F, 3, H, W], mask bool [..., T], seed i64 [...]) -> maps of the same shape."""

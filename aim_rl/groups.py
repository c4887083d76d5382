"""Gathers TorchRL's stream of trajectories into whole same-seed groups."""

from __future__ import annotations

from collections.abc import Iterator

from tensordict import TensorDictBase
from torchrl.collectors import Collector

KEPT = (  # what the update and the pictures read
    *("chain", "chain_next", "sample_log_prob", "context_kv", "context_keypoints", "proprio"),
    *(
        "seed",
        "decision",
        "version",
        "landing",
        "value_map",
        "head_camera",
        "head_camera_intrinsic",
        "head_camera_extrinsic",
    ),
    *(("next", "reward"), ("next", "reward_dense"), ("next", "reward_sparse"), ("next", "executed")),
    *(("next", "terminated"), ("collector", "mask")),
)


def whole_groups(collector: Collector, group: int, groups: int) -> Iterator[TensorDictBase]:
    """Yields `groups` complete groups at a time: [groups * group, T], padded in time, `("collector", "mask")` true
    where a decision was taken.

    Rollouts of a group end at different times; those that wait for the others are kept until the group is whole, and
    rollouts under way when the policy is updated go on with the new weights. Each decision keeps the likelihood it
    was drawn with and the version of its weights.
    """
    waiting: dict[int, list[TensorDictBase]] = {}
    ready: list[TensorDictBase] = []
    for batch in collector:
        for trajectory in batch.select(*KEPT).unbind(0):
            length = int(trajectory["collector", "mask"].sum())
            seed = int(trajectory["seed"][0])
            waiting.setdefault(seed, []).append(trajectory[:length].clone())
            if len(waiting[seed]) == group:
                ready += waiting.pop(seed)
        while len(ready) >= groups * group:
            yield pad_stack(ready[: groups * group])
            del ready[: groups * group]


def pad_stack(trajectories: list[TensorDictBase]) -> TensorDictBase:
    """Stacks trajectories [T_i] into [N, max T_i], zero where padded."""
    longest = max(len(trajectory) for trajectory in trajectories)
    stacked = trajectories[0].new_zeros(len(trajectories), longest)
    for row, trajectory in enumerate(trajectories):
        stacked[row, : len(trajectory)] = trajectory
    return stacked

"""Gathers TorchRL's stream of trajectories into whole same-seed groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from tensordict import TensorDictBase

KEPT = (  # what the update and the pictures read
    *("chain", "sample", "sample_log_prob", "context_kv", "context_keypoints", "context_exists", "proprio"),
    *(
        "seed",
        "decision",
        "version",
        "progress",
        "landing",
        "value_map",
        "head_camera",
        "head_camera_intrinsic",
        "head_camera_extrinsic",
    ),
    *(("next", "step_success"), ("next", "executed"), ("next", "terminated"), ("next", "restarts")),
    ("next", "progress"),
    ("collector", "mask"),
)


def whole_groups(
    batches: Iterable[TensorDictBase], group: int, groups: int, more: Iterable[str] = ()
) -> Iterator[TensorDictBase]:
    """Yields `groups` complete groups at a time: [groups * group, T], padded in time, `("collector", "mask")` true
    where a decision was taken.

    Rollouts of a group end at different times; those that wait for the others are kept until the group is whole, and
    rollouts under way when the policy is updated go on with the new weights. Each decision keeps the likelihood it
    was drawn with and the version of its weights. What was yielded is overwritten by the next batch: it is hundreds of
    megabytes, and fresh memory of that size costs seconds. `more` keys are kept beside `KEPT`.
    """
    waiting: dict[int, list[TensorDictBase]] = {}
    ready: list[TensorDictBase] = []
    storage: TensorDictBase | None = None
    for batch in batches:
        for trajectory in batch.select(*KEPT, *more).unbind(0):
            length = int(trajectory["collector", "mask"].sum())
            seed = int(trajectory["seed"][0])
            waiting.setdefault(seed, []).append(trajectory[:length].clone())
            if len(waiting[seed]) == group:
                ready += waiting.pop(seed)
        while len(ready) >= groups * group:
            chosen = ready[: groups * group]
            del ready[: groups * group]
            longest = max(len(trajectory) for trajectory in chosen)
            if storage is None or longest > storage.shape[1]:
                storage = cast(TensorDictBase, chosen[0].new_zeros(torch.Size([len(chosen), longest])))
            storage["collector", "mask"].zero_()
            for row, trajectory in enumerate(chosen):
                storage[row, : len(trajectory)] = trajectory
            yield storage[:, :longest]

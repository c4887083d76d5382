"""Gathers what the scenes do into rollouts, whole same-seed groups and batches to train on."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from tensordict import TensorDictBase

from aim_rl.rollout.environments import Packed, pack, unpack

KEPT = (  # what the update and the pictures read
    *("chain", "sample", "sample_log_prob", "context_kv", "context_keypoints", "context_exists", "proprio"),
    *(
        "seed",
        "decision",
        "version",
        "progress",
        "commanded_tcp",
        "value_map",
        "head_camera",
        "head_camera_intrinsic",
        "head_camera_extrinsic",
    ),
    *(("next", "step_success"), ("next", "executed"), ("next", "terminated"), ("next", "restarts")),
    ("next", "progress"),
)


class PartialRollouts:
    """What has been gathered of the groups that are not whole.

    Attributes:
        under_way: scene -> the decisions so far of its rollout, in pieces [t].
        waiting: seed -> its rollouts [T] that wait for the others.
    """

    def __init__(self) -> None:
        self.under_way: dict[int, list[TensorDictBase]] = defaultdict(list)
        self.waiting: dict[int, list[TensorDictBase]] = defaultdict(list)


def whole_rollouts(
    batches: Iterable[TensorDictBase], unfinished: PartialRollouts, more: Iterable[str] = ()
) -> Iterator[list[TensorDictBase]]:
    """The rollouts [T] that end in each of a collector's batches [scenes, decisions]; `more` keys beside `KEPT`."""
    under_way = unfinished.under_way
    for batch in batches:
        ended = []
        done, kept = batch["next", "done"][..., 0], batch.select(*KEPT, *more)
        for scene in range(len(batch)):
            start = 0
            for end in (done[scene].nonzero()[:, 0] + 1).tolist():
                ended.append(torch.cat([*under_way.pop(scene, []), kept[scene, start:end]]))
                start = end
            if start < batch.shape[1]:
                under_way[scene].append(kept[scene, start:])
        yield ended


def whole_groups(
    rounds: Iterable[list[TensorDictBase]], unfinished: PartialRollouts, group: int
) -> Iterator[list[TensorDictBase]]:
    """Of each round, the rollouts of the groups that it completes, group by group.

    Rollouts of a group end at different times; those that wait for the others are kept until the group is whole.
    """
    waiting = unfinished.waiting
    for rollouts in rounds:
        whole = []
        for rollout in rollouts:
            seed = int(rollout["seed"][0])
            waiting[seed].append(rollout)
            if len(waiting[seed]) == group:
                whole += waiting.pop(seed)
        yield whole


class CompletedRollouts:
    """Rollouts [T] of whole groups that no training batch has taken yet."""

    def __init__(self) -> None:
        self.rollouts: list[TensorDictBase] = []

    def state_dict(self) -> Packed:
        return pack(self.rollouts)

    def load_state_dict(self, state: Packed) -> None:
        self.rollouts = unpack(state)


def training_batches(
    rounds: Iterable[list[TensorDictBase]], ready: CompletedRollouts, rollouts: int
) -> Iterator[TensorDictBase]:
    """Yields so many rollouts at a time: [rollouts, T], padded in time, `("collector", "mask")` true where a decision
    was taken.

    Rollouts under way when the policy is updated go on with the new weights. Each decision keeps the likelihood it
    was drawn with and the version of its weights. What was yielded is overwritten by the next batch: it is hundreds of
    megabytes, and fresh memory of that size costs seconds.
    """
    storage: TensorDictBase | None = None
    for more in itertools.chain([[]], rounds):
        ready.rollouts += more
        while len(ready.rollouts) >= rollouts:
            chosen = ready.rollouts[:rollouts]
            del ready.rollouts[:rollouts]
            longest = max(len(rollout) for rollout in chosen)
            if storage is None or longest > storage.shape[1]:
                storage = cast(TensorDictBase, chosen[0].new_zeros(torch.Size([rollouts, longest])))
                storage["collector", "mask"] = torch.zeros(rollouts, longest, dtype=torch.bool)
            storage["collector", "mask"].zero_()
            for row, rollout in enumerate(chosen):
                cast(TensorDictBase, storage[row, : len(rollout)]).update_(rollout)
                storage["collector", "mask"][row, : len(rollout)] = True
            yield storage[:, :longest]

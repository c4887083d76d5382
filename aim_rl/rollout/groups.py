"""From collected decisions to finished rollouts, complete same-seed groups, and batches to train on."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from tensordict import TensorDictBase

from aim_rl.rollout.transfer import Packed, pack, unpack, with_todays_names

KEPT = (
    "chain",
    "sample",
    "sample_log_prob",
    "context_kv",
    "context_keypoints",
    "context_exists",
    "proprio",
    "seed",
    "decision",
    "version",
    "progress",
    "commanded_tcp",
    "value_map",
    "head_camera",
    "head_camera_intrinsic",
    "head_camera_extrinsic",
    ("next", "step_success"),
    ("next", "executed"),
    ("next", "terminated"),
    ("next", "restarts"),
    ("next", "progress"),
)
"""Keys of a decision that the update and the logged pictures read."""


class PartialRollouts:
    """Rollouts of groups that are not complete.

    Attributes:
        in_progress: environment -> the decisions so far of its rollout, in pieces [t].
        waiting: seed -> its finished rollouts [T].
    """

    def __init__(self) -> None:
        self.in_progress: dict[int, list[TensorDictBase]] = defaultdict(list)
        self.waiting: dict[int, list[TensorDictBase]] = defaultdict(list)


def finished_rollouts(
    batches: Iterable[TensorDictBase], partial: PartialRollouts, extra_keys: Iterable[str] = ()
) -> Iterator[list[TensorDictBase]]:
    """The rollouts [T] that end in each of a collector's batches [environments, decisions].

    Args:
        batches: from the collector.
        partial: holds the decisions of rollouts that have not ended.
        extra_keys: kept beside `KEPT`.
    """
    in_progress = partial.in_progress
    for batch in batches:
        finished = []
        done, kept = batch["next", "done"][..., 0], batch.select(*KEPT, *extra_keys)
        for environment in range(len(batch)):
            start = 0
            for end in (done[environment].nonzero()[:, 0] + 1).tolist():
                finished.append(torch.cat([*in_progress.pop(environment, []), kept[environment, start:end]]))
                start = end
            if start < batch.shape[1]:
                in_progress[environment].append(kept[environment, start:])
        yield finished


def complete_groups(
    rounds: Iterable[list[TensorDictBase]], partial: PartialRollouts, group_size: int
) -> Iterator[list[TensorDictBase]]:
    """Of each round of finished rollouts, those of the groups that it completes, group by group.

    Rollouts of a group end at different times; they wait in `partial` until the group is complete.
    """
    waiting = partial.waiting
    for rollouts in rounds:
        complete = []
        for rollout in rollouts:
            seed = int(rollout["seed"][0])
            waiting[seed].append(rollout)
            if len(waiting[seed]) == group_size:
                complete += waiting.pop(seed)
        yield complete


class CompletedRollouts:
    """Rollouts [T] of complete groups that no training batch has taken yet."""

    def __init__(self) -> None:
        self.rollouts: list[TensorDictBase] = []

    def state_dict(self) -> Packed:
        return pack(self.rollouts)

    def load_state_dict(self, state: Packed) -> None:
        self.rollouts = unpack(with_todays_names(state))


def training_batches(
    rounds: Iterable[list[TensorDictBase]], completed: CompletedRollouts, rollouts: int
) -> Iterator[TensorDictBase]:
    """Batches [rollouts, T], padded in time; `("collector", "mask")` is true where a decision was taken.

    Rollouts in progress during an update go on with the new weights; each decision keeps its log-probability and the
    version of its weights. The next batch overwrites the one before: fresh memory of hundreds of megabytes costs
    seconds.

    Args:
        rounds: rollouts of complete groups.
        completed: holds those that no batch has taken yet.
        rollouts: per batch.
    """
    storage: TensorDictBase | None = None
    for more in itertools.chain([[]], rounds):
        completed.rollouts += more
        while len(completed.rollouts) >= rollouts:
            chosen = completed.rollouts[:rollouts]
            del completed.rollouts[:rollouts]
            longest = max(len(rollout) for rollout in chosen)
            if storage is None or longest > storage.shape[1]:
                storage = cast(TensorDictBase, chosen[0].new_zeros(torch.Size([rollouts, longest])))
                storage["collector", "mask"] = torch.zeros(rollouts, longest, dtype=torch.bool)
            storage["collector", "mask"].zero_()
            for row, rollout in enumerate(chosen):
                cast(TensorDictBase, storage[row, : len(rollout)]).update_(rollout)
                storage["collector", "mask"][row, : len(rollout)] = True
            yield storage[:, :longest]

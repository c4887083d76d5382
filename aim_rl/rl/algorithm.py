"""What the trainer asks of a learning algorithm; one file per algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tensordict import TensorDictBase

from aim_rl.runs.state import Counters

Metrics = dict[str, float]
"""TensorBoard tag, without `stage2/`, -> value."""


class Algorithm(Protocol):
    """Changes the policy by its rollouts.

    In every iteration the trainer calls `observe`, then `update`, with one batch: rollouts [N, T] with rewards, padded
    in time (`aim_rl.rollout.groups.training_batches`). The batch is overwritten afterwards: an algorithm with a replay
    buffer copies what it keeps.

    Attributes:
        rate: factor of the learning rate; the trainer sets it before every iteration.
        observed: keys of the rollouts that it reads beside `aim_rl.rollout.groups.KEPT`.
        counters: `skipped_updates` and others; saved with the state.
    """

    rate: float
    counters: Counters

    @property
    def observed(self) -> tuple[str, ...]: ...

    def observe(self, rollouts: TensorDictBase) -> Metrics:
        """Takes in rollouts: advantages, critics, replay. Does not change the policy."""
        ...

    def update(self, rollouts: TensorDictBase) -> Metrics:
        """Changes the policy and adds 1 to `policy.version` if it did."""
        ...

    def check(self, run: Path) -> None:
        """Raises UserError if training has diverged; the sentence names the last good state of `run`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that training changes: weights, optimizers, critics, counters."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError if the state is of another configuration."""
        ...

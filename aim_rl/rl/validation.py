"""Guard rail of Stage II: never hands over a policy that is worse than Stage I on validation scenes.

The policy as it would be deployed (no exploration) rolls out a fixed set of scenes that training never sees, first as
Stage I and then every few iterations. The best weights so far are kept in `<run>/best`. Weights that fall below Stage I
with significance are replaced by the best ones, and the learning rate is halved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.rl.algorithm import Metrics
from aim_rl.rl.metrics import interval
from aim_rl.rl.policy import AimPolicy
from aim_rl.runs.statistics import compare_pairs, describe_pairs

SIGNIFICANCE = 0.05  # p-value of McNemar's test below which a policy counts as worse than Stage I
Outcome = dict[int, bool]
"""Seed -> success."""


class Validation:
    """Measures the policy on validation scenes and keeps the best weights.

    Args:
        run: folder of the run.
        policy: what is trained.
        measure: rolls out the validation scenes without exploration.
        every: iterations between two measurements.

    Attributes:
        measure: as given.
        rate: factor of the learning rate, halved with every roll-back.
    """

    def __init__(self, run: Path, policy: AimPolicy, measure: Callable[[], Outcome], every: int) -> None:
        self._run, self._policy, self.measure, self._every = run, policy, measure, every
        self.rate = 1.0
        self._judged_at = 0  # iterations
        self._stage1: Outcome = {}
        self._best: Outcome = {}
        self._weights: dict[str, Any] = {}

    @property
    def has_stage1(self) -> bool:
        """Whether Stage I has been measured."""
        return bool(self._stage1)

    def begin(self, metadata: Mapping[str, Any]) -> Metrics:
        """Measures Stage I; does nothing in a run that continues."""
        if self._stage1:
            return {}
        self._stage1 = self.measure()
        self._keep(self._stage1, metadata)
        return _success(self._stage1)

    def due(self, done: int) -> bool:
        """Whether it is time to measure after so many iterations."""
        return done % self._every == 0 and done > self._judged_at

    def judge(self, outcome: Outcome, done: int, metadata: Mapping[str, Any]) -> Metrics:
        """Keeps the policy's weights if they are the best, undoes them if they are worse than Stage I.

        Args:
            outcome: what `measure` has found.
            done: after so many iterations.
            metadata: of the checkpoint.
        """
        self._judged_at = done
        pairs = self._compare(outcome)
        is_best = self._keep_if_best(outcome, metadata)
        if not is_best and pairs["difference"] < 0 and pairs["p_value"] < SIGNIFICANCE:
            self.rate /= 2
            self.restore_best()
            print(
                f"Worse than Stage I on the validation scenes: {describe_pairs(pairs)}. "
                "Training goes on from the best weights so far, with half the learning rate."
            )
        return _success(outcome) | {f"validation/{name}": float(pairs[name]) for name in ("kept", "gained", "lost")}

    def finish(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Measures the final weights and leaves the policy with the best ones; says how those compare with Stage I."""
        self._keep_if_best(self.measure(), metadata)
        self.restore_best()
        return {"validation": self._compare(self._best)}

    def restore_best(self) -> None:
        """Gives the policy the best weights so far."""
        self._policy.trained.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Stage I's and the best outcomes, the best weights, the learning rate's factor."""
        return {
            "seeds": list(self._stage1),
            "stage1": [float(self._stage1[seed]) for seed in self._stage1],
            "best": [float(self._best[seed]) for seed in self._stage1],
            "weights": self._weights,
            "rate": self.rate,
            "judged_at": self._judged_at,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """`state_dict` undone; a state of version 0.1 has measured nothing."""
        if "seeds" in state:
            self._stage1, self._best = (
                {int(seed): bool(success) for seed, success in zip(state["seeds"], state[name], strict=True)}
                for name in ("stage1", "best")
            )
            self._weights, self.rate = dict(state["weights"]), float(state["rate"])
            self._judged_at = int(state.get("judged_at", 0))  # states of version 0.1 do not say it

    def _compare(self, outcome: Outcome) -> Any:
        seeds = list(self._stage1)
        return compare_pairs([self._stage1[seed] for seed in seeds], [outcome[seed] for seed in seeds])

    def _keep_if_best(self, outcome: Outcome, metadata: Mapping[str, Any]) -> bool:
        is_best = sum(outcome.values()) > sum(self._best.values())
        if is_best:
            self._keep(outcome, metadata)
        return is_best

    def _keep(self, outcome: Outcome, metadata: Mapping[str, Any]) -> None:
        self._best, self._weights = outcome, copy.deepcopy(self._policy.trained.state_dict())
        success = {
            "best_by": "success on validation scenes",
            "validation_success": sum(outcome.values()) / len(outcome),
        }
        save_checkpoint(self._run / "best", self._policy.model, {**metadata, **success})


def _success(outcome: Outcome) -> Metrics:
    return interval("validation/success", sum(outcome.values()), len(outcome))

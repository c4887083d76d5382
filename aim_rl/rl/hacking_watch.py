"""Watches a run for reward hacking: hovering at a peak, and a dense reward that rises while success does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import torch
from tensordict import TensorDictBase
from torch import Tensor

PEAK = 0.5  # smallest response that counts as at a peak
LINGER = 16  # control steps, about a second; no grasp of an expert stays longer
WINDOW = 10  # iterations that are averaged
CEILING = 0.95  # success rate above which no rise is expected
ALARM = (
    f"Reward hacking? Over the last {2 * WINDOW} iterations the dense reward rose and success did not: look at the "
    "rollouts' pictures in TensorBoard, and lower --reward.lambda-dense or choose another --reward.shaping "
    "(docs/rewards.md)."
)


def hovering(response: Tensor, executed: Tensor) -> float:
    """Share of the executed control steps that linger at a peak.

    A control step lingers if the response of the predicted map at its commanded TCP position is at least `PEAK`, and
    was during the `LINGER` control steps before it.

    Args:
        response: [N, T, h], M_t(Π(p)) of each control step.
        executed: bool [N, T, h].
    """
    at_peak = ((response >= PEAK) & executed).flatten(1)
    step = torch.arange(at_peak.shape[1])
    last_away = torch.where(at_peak, -1, step).cummax(1).values
    return (at_peak & (step - last_away > LINGER)).sum().item() / max(1, int(executed.sum()))


class HackingWatch:
    """Compares the last `WINDOW` iterations with the `WINDOW` before them.

    The alarm is raised if the mean dense reward per episode rose by more than two standard errors and success did not
    rise by more than one, unless success is above `CEILING`.

    Attributes:
        raised_now: whether the last iteration raised the alarm and the one before did not.
    """

    def __init__(self) -> None:
        self._dense: deque[float] = deque(maxlen=2 * WINDOW)
        self._success: deque[float] = deque(maxlen=2 * WINDOW)
        self._raised = self.raised_now = False

    def update(self, rollouts: TensorDictBase, metrics: dict[str, float]) -> dict[str, float]:
        """Metrics of an iteration: `watch/hovering`, `watch/alarm` (0 or 1).

        Args:
            rollouts: [N, T], with ("next", "response").
            metrics: the iteration's `return_dense` and `success`.
        """
        executed = rollouts["next", "executed"] & rollouts["collector", "mask"][..., None]
        raised = self.alarm(metrics["return_dense"], metrics["success"])
        self.raised_now, self._raised = raised and not self._raised, raised
        return {"watch/hovering": hovering(rollouts["next", "response"], executed), "watch/alarm": float(raised)}

    def state_dict(self) -> dict[str, list[float]]:
        return {"dense": list(self._dense), "success": list(self._success), "raised": [float(self._raised)]}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        self._dense, self._success = (deque(state[key], 2 * WINDOW) for key in ("dense", "success"))
        self._raised = bool(state["raised"][0])

    def alarm(self, dense: float, success: float) -> bool:
        """Takes in one iteration's means; returns whether the alarm is raised."""
        self._dense.append(dense)
        self._success.append(success)
        if len(self._dense) < 2 * WINDOW:
            return False
        full = sum(list(self._success)[WINDOW:]) / WINDOW >= CEILING
        return not full and _rise(self._dense) > 2 and _rise(self._success) <= 1


def _rise(values: deque[float]) -> float:
    """Difference between the means of the newer and the older half, in standard errors (Welch's t)."""
    old, new = torch.tensor(list(values), dtype=torch.float64).split(WINDOW)
    error = ((old.var() + new.var()) / WINDOW).sqrt()
    return ((new.mean() - old.mean()) / error.clamp_min(1e-9)).item()

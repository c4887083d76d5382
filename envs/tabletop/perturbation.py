"""Disturbs the expert's actions on purpose, so that recorded data shows recoveries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 0.02  # perturbations per control step
STEPS = 2  # control steps that a perturbation lasts
SIZE = 0.06  # rad per joint and step, standard deviation: 3 to 4 cm at the gripper
RELEASE_SHARE = 0.15  # of the perturbations open a gripper instead


class ActionPerturbation:
    """Adds an offset to the joint targets of one arm, now and then for a few control steps.

    Args:
        rng: source of when, which arm and how much.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._offset, self._remaining = np.zeros(14), 0

    def __call__(self, action: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
        """The joint targets [14] of one control step, disturbed or not, and whether they are."""
        if self._remaining == 0 and self._rng.random() < RATE:
            self._offset, self._remaining = self._draw(), STEPS
        if not self._remaining:
            return action, False
        self._remaining -= 1
        return action + self._offset, True

    def _draw(self) -> NDArray[np.float64]:
        offset = np.zeros(14)
        arm = slice(0, 7) if self._rng.random() < 0.5 else slice(7, 14)
        if self._rng.random() < RELEASE_SHARE:
            offset[arm] = [0.0] * 6 + [1.0]
        else:
            offset[arm] = [*self._rng.normal(0.0, SIZE, 6), 0.0]
        return offset

"""The checkpoint `<run>/best`: the weights after the iterations in which the exploring policy succeeded most often."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aim_rl.model import AIM
from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.rl.algorithm import Metrics


class BestCheckpoint:
    """Compares windows of iterations by the exploring policy's mean success.

    Args:
        directory: of the checkpoint.
        model: what is saved.
        window: iterations.
    """

    def __init__(self, directory: Path, model: AIM, window: int) -> None:
        self._directory, self._model, self._window = directory, model, window
        self._success, self._best = 0.0, -1.0  # of the current window, of the best one

    def observe(self, metrics: Metrics) -> None:
        """Takes in one iteration."""
        self._success += metrics["success"] / self._window

    def end_window(self, metadata: dict[str, Any]) -> None:
        """Saves the model if no window before was as successful."""
        success, self._success = self._success, 0.0
        if success > self._best:
            self._best = success
            best_by = f"success of the exploring policy in {self._window} iterations"
            save_checkpoint(self._directory, self._model, metadata | {"best_by": best_by, "exploring_success": success})

    def state_dict(self) -> dict[str, float]:
        return {"success": self._success, "best": self._best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._success, self._best = state["success"], state["best"]

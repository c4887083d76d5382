"""Which simulator runs the tasks: the built-in tabletop, or RoboTwin itself out of a checkout."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from envs import make_env
from envs.base import TaskEnv
from envs.errors import UserError
from envs.rendering import require_rendering

CONFIGS = {"clean": "demo_clean", "randomized": "demo_randomized"}  # setting -> RoboTwin's task configuration


@dataclass(frozen=True)
class Backend:
    """The simulator's options, the same in every command."""

    backend: Literal["tabletop", "robotwin"] = "tabletop"
    """tabletop is built in; robotwin is a RoboTwin checkout, one process of 2 GB per environment."""
    robotwin_root: Path | None = None
    """The RoboTwin checkout."""
    robotwin_python: Path | None = None
    """The Python that RoboTwin was installed into."""

    def require(self, task: str, setting: str) -> dict[str, str]:
        """Checks that the task can be simulated here, before anything is written.

        Returns:
            What a result file says about the simulator (`TaskEnv.provenance`).

        Raises:
            UserError: a flag is missing, this machine cannot render, or RoboTwin cannot be run.
        """
        if self.backend == "tabletop":
            if self.robotwin_root or self.robotwin_python:
                raise UserError("--robotwin-root and --robotwin-python go with --backend robotwin")
            require_rendering()
            return {}
        if self.robotwin_root is None or self.robotwin_python is None:
            raise UserError(
                "--backend robotwin needs --robotwin-root DIR and --robotwin-python PYTHON, also beside --resume: "
                "a run's folder, which may come from somebody else, does not say which program to run"
            )
        with contextlib.closing(
            self.make(task, setting, (8, 8), (8, 8))
        ) as env:  # a worker could not say what is wrong
            return env.provenance()

    def default_envs_per_worker(self, tabletop: int) -> int:
        """Default environments per worker: `tabletop` for the built-in simulator; 1 for RoboTwin, where each
        environment is its own 2 GB process and those of one worker would take turns.
        """
        return 1 if self.backend == "robotwin" else tabletop

    def make(
        self,
        task: str,
        setting: str,
        head_size: tuple[int, int],
        wrist_size: tuple[int, int],
        action_mode: str = "joint",
        evaluation: bool = False,
        instructions: str = "seen",
    ) -> TaskEnv:
        """The environment of a task in this simulator (`envs.make_env`), with one action per control step.

        Args:
            task: RoboTwin's name.
            setting: "clean" or "randomized".
            head_size, wrist_size: image sizes (height, width) in px.
            action_mode: "joint", "ee" or "delta_ee".
            evaluation: RoboTwin's evaluation, with unseen textures; the tabletop makes no such difference.
            instructions: split that the instruction is drawn from, "seen" or "unseen".
        """
        options: dict[str, Any] = {
            "head_size": head_size,
            "wrist_size": wrist_size,
            "action_mode": action_mode,
            "instructions": instructions,
        }
        if self.backend == "tabletop":
            return make_env(task, setting=setting, **options)
        rest = {"root": self.robotwin_root, "python": self.robotwin_python, "config": CONFIGS[setting]}
        return make_env(task, "robotwin", servo=True, evaluation=evaluation, **rest, **options)


TABLETOP = Backend()

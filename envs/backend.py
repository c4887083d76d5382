"""Which simulator runs the tasks: the built-in tabletop, or RoboTwin itself out of a checkout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from envs.errors import UserError
from envs.rendering import require_rendering
from envs.tabletop.env import TabletopEnv

if TYPE_CHECKING:
    from envs.robotwin.env import RoboTwinEnv

CONFIGS = {"clean": "demo_clean", "randomized": "demo_randomized"}  # setting -> RoboTwin's task configuration


@dataclass(frozen=True)
class Backend:
    """The simulator's options, the same in every command."""

    backend: Literal["tabletop", "robotwin"] = "tabletop"
    """tabletop is built in; robotwin is a RoboTwin checkout, one process of 2 GB per scene."""
    robotwin_root: Path | None = None
    """The RoboTwin checkout."""
    robotwin_python: Path | None = None
    """The Python that RoboTwin was installed into."""

    def require(self, task: str, setting: str) -> dict[str, str]:
        """Checks, before anything is written, that the task can be simulated here.

        Returns:
            What a result file says about RoboTwin: commit, embodiment and configuration; nothing of the tabletop.

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
                "a run's folder, which may be a stranger's, does not say which program is run"
            )
        env = self.make(task, setting, (8, 8), (8, 8))  # here, since a sentence gets lost in a worker process
        assert not isinstance(env, TabletopEnv)
        env.close()
        return {
            "backend": "robotwin",
            "commit": env.checkout.version,
            "embodiment": env.embodiment,
            "config": env.setting,
        }

    def default_envs_per_worker(self, tabletop: int) -> int:
        """How many scenes a worker process has where the user does not say: so many of the tabletop, which it simulates
        itself; one of RoboTwin, which is a process of 2 GB, and of which those of one worker would take turns.
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
    ) -> TabletopEnv | RoboTwinEnv:
        """The environment of a task, an action per control step.

        Args:
            task, setting, head_size, wrist_size, action_mode, instructions: as in `TabletopEnv`.
            evaluation: textures of RoboTwin's evaluation; the tabletop makes no such difference.
        """
        if self.backend == "tabletop":
            return TabletopEnv(task, setting, head_size, wrist_size, action_mode, instructions)
        from envs.robotwin.env import RoboTwinEnv

        assert self.robotwin_root is not None and self.robotwin_python is not None  # `require` has seen to it
        return RoboTwinEnv(
            task,
            self.robotwin_root,
            self.robotwin_python,
            CONFIGS[setting],
            head_size,
            wrist_size,
            action_mode=action_mode,
            servo=True,
            evaluation=evaluation,
            instructions=instructions,
        )


BackendOptions = Annotated[Backend, tyro.conf.arg(name="")]
"""A field of this type gives a command the flags --backend, --robotwin-root and --robotwin-python."""
TABLETOP = Backend()

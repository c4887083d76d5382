"""Gymnasium environments of RoboTwin's tasks; importing this package registers `RoboTwin/<task>-v0`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from envs.constants import BACKENDS
from envs.errors import UserError
from envs.tabletop.tasks import task_names

if TYPE_CHECKING:
    from envs.base import TaskEnv

ALIASES = {"stack_blocks": "stack_blocks_two"}


def resolve_task(name: str) -> str:
    """The task that `name` means: RoboTwin's name, an alias, or the name of a task that was added.

    The built-in backend has all of them, a RoboTwin checkout only RoboTwin's.

    Raises:
        UserError: no such task; the sentence names the nearest one.
    """
    task = ALIASES.get(name, name)
    if task in task_names():
        return task
    near = difflib.get_close_matches(name, [*task_names(), *ALIASES], n=1, cutoff=0.0)
    raise UserError(f"unknown task {name!r}; did you mean {near[0]!r}? `python -m envs --list` lists all tasks")


def make_env(task: str, backend: str = "tabletop", **arguments: Any) -> TaskEnv:
    """The environment of a task, with one action per control step; `gym.make("RoboTwin/<task>-v0", ...)` calls it.

    Commands call it through `envs.backend.Backend.make`, which holds the user's choice of a simulator.

    Args:
        task: RoboTwin's name or an alias.
        backend: "tabletop" or "robotwin".
        arguments: of `envs.tabletop.env.TabletopEnv` or `envs.robotwin.env.RoboTwinEnv`.

    Raises:
        ValueError: the backend does not exist.
        UserError: no such task.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} does not exist; choose one of {', '.join(BACKENDS)}")
    task = resolve_task(task)
    if backend == "robotwin":
        from envs.robotwin.env import RoboTwinEnv

        return RoboTwinEnv(task, **arguments)
    from envs.tabletop.env import TabletopEnv

    return TabletopEnv(task, **arguments)


for _name in [*task_names(), *ALIASES]:
    gym.register(f"RoboTwin/{_name}-v0", entry_point="envs:make_env", kwargs={"task": _name})

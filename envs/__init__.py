"""Gymnasium environments of RoboTwin's tasks; importing this package registers `RoboTwin/<task>-v0`."""

from __future__ import annotations

import difflib

import gymnasium as gym

from envs.errors import UserError
from envs.tabletop.tasks import task_names

ALIASES = {"stack_blocks": "stack_blocks_two"}


def resolve_task(name: str) -> str:
    """The task that `name` means: aliases resolved.

    Raises:
        UserError: no such task; the sentence names the nearest one.
    """
    known = task_names()
    task = ALIASES.get(name, name)
    if task in known:
        return task
    near = difflib.get_close_matches(name, [*known, *ALIASES], n=1, cutoff=0.0)
    raise UserError(f"unknown task {name!r}; did you mean {near[0]!r}? `python -m envs --list` lists all tasks")


for _name in [*task_names(), *ALIASES]:
    gym.register(
        f"RoboTwin/{_name}-v0",
        entry_point="envs.tabletop.env:TabletopEnv",
        kwargs={"task": ALIASES.get(_name, _name)},
    )

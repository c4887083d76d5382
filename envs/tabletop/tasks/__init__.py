"""One file per task, named as RoboTwin names it, where RoboTwin has it. To add a task, add a file (CONTRIBUTING.md)."""

from __future__ import annotations

import pkgutil


def task_names() -> list[str]:
    """Names of the tasks that the tabletop has, one per file in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))

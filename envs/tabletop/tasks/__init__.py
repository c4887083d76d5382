"""One file per task, named like RoboTwin's. To add a task, add a file."""

from __future__ import annotations

import pkgutil


def task_names() -> list[str]:
    """Names of the tasks that the tabletop has, one per file in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))

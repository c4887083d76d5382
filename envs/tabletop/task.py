"""What a task file provides: what stands on the table, when it is done, how the scripted expert solves it."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.tabletop.scene import Tabletop
from envs.tabletop.skills import Command, Commands, Skills


class Task(ABC):
    """One RoboTwin task. A subclass is the whole definition; see envs/tabletop/tasks/stack_blocks_two.py."""

    name: ClassVar[str]
    step_limit: ClassVar[int]  # control steps, RoboTwin's
    instructions: ClassVar[tuple[str, ...]]  # at least ten wordings for training; {placeholders} are filled by `slots`
    unseen_instructions: ClassVar[tuple[str, ...]]  # at least five that only evaluation reads

    def __init__(self, scene: Tabletop) -> None:
        self.scene = scene
        self.rng: np.random.Generator = scene.rng
        self.skills = Skills(scene)
        self.load()

    @abstractmethod
    def load(self) -> None:
        """Puts the task's bodies on the table of `self.scene`, drawing from `self.rng`."""

    def slots(self) -> dict[str, str]:
        """What fills the instructions' placeholders in this scene: an object, a colour, an arm."""
        return {}

    @abstractmethod
    def success(self) -> bool:
        """Whether the task is solved now; RoboTwin's predicate, plus what a user would see."""

    def progress(self) -> float:
        """How far the task is, in [0, 1], measured on its bodies; 0 always where a task does not define it.

        A privileged reward for comparison (rewards/shaping.py): nothing that acts may see it.
        """
        return 0.0

    @abstractmethod
    def expert(self) -> Commands:
        """What the scripted expert wants of each arm now: a function of the simulator's state alone."""


def closeness(offset: NDArray[np.floating]) -> float:
    """1 at no distance, falling over about 10 cm to 0, of an offset [3] (m): 1 - tanh(d / 0.1), as in robosuite."""
    return float(1 - np.tanh(np.linalg.norm(offset) / 0.1))


def listed(words: Iterable[str]) -> str:
    """The words in a sentence, each once: "red, green and blue"."""
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} and {last}" if most else last


def task_class(name: str) -> type[Task]:
    """The class defined in envs/tabletop/tasks/<name>.py."""
    module = importlib.import_module(f"envs.tabletop.tasks.{name}")
    (found,) = (
        c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Task) and vars(c).get("name") == name
    )
    return found


__all__ = ["Command", "Commands", "Skills", "Task", "closeness", "listed", "task_class"]

"""What a task file provides: the bodies on the table, the success predicate and the scripted expert.

To add a task, write one file in envs/tabletop/tasks; CONTRIBUTING.md has a whole one as the example. Its docstring says
what is asked, what varies between seeds and what counts as done, and names its source. In the setting `randomized` the
table's height, textures, lights and clutter vary too, in every task.
"""

from __future__ import annotations

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.tabletop.scene import Tabletop
from envs.tabletop.skills import Command, Commands, Skills

Array = NDArray[np.floating]
Area = tuple[tuple[float, float], tuple[float, float]]  # lowest and highest (x, y), m


class Task(ABC):
    """One RoboTwin task. A subclass is the whole definition."""

    name: ClassVar[str]  # the file's; RoboTwin's, where RoboTwin has the task
    step_limit: ClassVar[int]  # control steps; RoboTwin's, where RoboTwin has the task
    instructions: ClassVar[tuple[str, ...]]  # at least ten, for training; {placeholders} are filled by `slots`
    unseen_instructions: ClassVar[tuple[str, ...]]  # at least five, which only evaluation reads

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]

    def __init__(self, scene: Tabletop) -> None:
        self.scene = scene
        self.rng: np.random.Generator = scene.rng
        self.skills = Skills(scene)
        self.load_actors()

    @abstractmethod
    def load_actors(self) -> None:
        """Puts the task's bodies on the table of `self.scene`, drawing from `self.rng`."""

    def slots(self) -> dict[str, str]:
        """What fills the instructions' placeholders in this scene: an object, a colour, an arm."""
        return {}

    @abstractmethod
    def check_success(self) -> bool:
        """Whether the task is solved now: RoboTwin's predicate, plus what a user would expect to see."""

    def progress(self) -> float:
        """How far the task is, in [0, 1], measured on its bodies; 0 always where a task does not define it.

        A privileged reward for comparison (rewards/shaping.py): no policy may read it.
        """
        return 0.0

    @abstractmethod
    def expert(self) -> Commands:
        """The scripted expert's command for each arm now, from the simulator's state alone.

        An arm that is not named goes back to its origin.
        """

    # -- random placement -------------------------------------------------------------------------

    def random_side(self) -> int:
        """-1 for the left half of the table, 1 for the right half."""
        return int(self.rng.choice([-1, 1]))

    def random_xy(self, area: Area, side: int = 1, away_from: Array | None = None, distance: float = 0.0) -> Array:
        """A point [2] (m) of an area, mirrored where `side` is -1, at least `distance` (m) from `away_from` [2]."""
        while True:
            spot = self.rng.uniform(*area) * [side, 1]
            if away_from is None or np.linalg.norm(spot - away_from) >= distance:
                return spot

    def random_yaw(self, largest: float = np.pi) -> float:
        """A yaw (rad) within `largest` of 0."""
        return self.rng.uniform(-largest, largest)

    def random_kind(self, kinds: Iterable[str]) -> str:
        """One of the names of a kind of object."""
        return str(self.rng.choice(list(kinds)))


@dataclass(frozen=True)
class _Built:
    """Stands in a saved task for an object that the scene's seed builds again."""

    name: str

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        return memo.get(self.name, self)


def _built(task: Task) -> dict[str, Any]:
    bodies = {f"body {name}": body for name, body in task.scene.bodies.items()}
    return {"task": task, "scene": task.scene, "skills": task.skills, **bodies}


def save_task(task: Task) -> dict[str, Any]:
    """All that a task keeps (counters, phases, its random generator), except for the scene and its bodies."""
    return copy.deepcopy(vars(task), {id(part): _Built(name) for name, part in _built(task).items()})


def load_task(task: Task, saved: dict[str, Any]) -> None:
    """`save_task` undone, in a task of the same seed."""
    built: dict[Any, Any] = _built(task)  # read by `_Built`
    vars(task).update(copy.deepcopy(saved, built))
    task.scene.rng = task.rng


def closeness(offset: Array) -> float:
    """1 at no distance, falling over about 10 cm to 0, of an offset [3] (m): 1 - tanh(d / 0.1), as in robosuite."""
    return float(1 - np.tanh(np.linalg.norm(offset) / 0.1))


def listed(words: Iterable[str]) -> str:
    """The words as in a sentence, each once: "red, green and blue"."""
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} and {last}" if most else last


def named_arms(arms: Iterable[str]) -> str:
    """The arms as in a sentence: "both arms" or "the left arm"."""
    first, *more = set(arms)
    return "both arms" if more else f"the {first} arm"


def task_class(name: str) -> type[Task]:
    """The class defined in envs/tabletop/tasks/<name>.py."""
    module = importlib.import_module(f"envs.tabletop.tasks.{name}")
    (found,) = (
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Task) and c.__module__ == module.__name__
    )
    return found


__all__ = [
    "Command",
    "Commands",
    "Skills",
    "Task",
    "closeness",
    "listed",
    "load_task",
    "named_arms",
    "save_task",
    "task_class",
]

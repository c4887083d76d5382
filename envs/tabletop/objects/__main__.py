"""Pictures of objects: `python -m envs.tabletop.objects sheet.png [NAME ...]`, four draws of each in a row."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray

from envs.tabletop import objects
from envs.tabletop.scene import Tabletop

SPOT, YAWS = np.array([0.0, -0.02]), (0.0, 0.5, -0.8, 1.6)  # m, rad


def object_functions() -> dict[str, Callable[..., Any]]:
    """Every object of this package by name: the functions that take a world and a pose and return a body."""
    found = {}
    for module in pkgutil.iter_modules(objects.__path__):
        if module.name != "__main__":
            family = importlib.import_module(f"{objects.__name__}.{module.name}")
            for name, function in inspect.getmembers(family, inspect.isfunction):
                if list(inspect.signature(function).parameters)[:2] == ["world", "pose"]:
                    found[name] = function
    return found


def picture(name: str, seed: int, yaw: float) -> NDArray[np.uint8]:
    """The head camera's view u8 [240, 320, 3] of one object in the middle of the table."""
    world = Tabletop(np.random.default_rng(seed), randomized=False)
    object_functions()[name](world, world.on_table(SPOT, yaw))
    world.add_cameras((240, 320), (16, 16))
    world.advance(100)
    return world.render()["head_camera"]


def main() -> None:
    """The command."""
    path, *names = sys.argv[1:]
    rows = [
        np.concatenate([picture(name, seed, yaw) for seed, yaw in enumerate(YAWS)], axis=1)
        for name in names or object_functions()
    ]
    imageio.imwrite(path, np.concatenate(rows))


if __name__ == "__main__":
    main()

"""Pictures of objects: `python -m envs.tabletop.objects sheet.png [NAME ...]`, two draws of each side by side.

The first picture takes some seconds without a GPU, while the shaders are compiled, each further one 20 ms.
"""

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

SPOTS, YAWS = ((-0.16, 0.0), (0.16, 0.0)), (0.0, 0.6)  # m, rad
COLUMNS = 4  # of the sheet


def object_functions() -> dict[str, Callable[..., Any]]:
    """Every object of this package by name: the functions that take a scene and a pose and return a body."""
    found = {}
    for module in pkgutil.iter_modules(objects.__path__):
        if module.name != "__main__":
            family = importlib.import_module(f"{objects.__name__}.{module.name}")
            for name, function in inspect.getmembers(family, inspect.isfunction):
                if list(inspect.signature(function).parameters)[:2] == ["scene", "pose"]:
                    found[name] = function
    return found


def picture(name: str, seed: int = 0) -> NDArray[np.uint8]:
    """The head camera's view u8 [240, 320, 3] of two draws of one object."""
    scene = Tabletop(np.random.default_rng(seed), randomized=False)
    for i, (spot, yaw) in enumerate(zip(SPOTS, YAWS, strict=True)):
        object_functions()[name](scene, scene.on_table(np.array(spot), yaw), name=f"{name}{i}")
    scene.add_cameras((240, 320), (16, 16))
    scene.advance(100)
    return scene.render()["head_camera"]


def main() -> None:
    """The command."""
    path, *names = sys.argv[1:]
    pictures = [picture(name) for name in names or object_functions()]
    pictures += [np.full_like(pictures[0], 255)] * (-len(pictures) % COLUMNS)
    rows = [np.concatenate(pictures[i : i + COLUMNS], axis=1) for i in range(0, len(pictures), COLUMNS)]
    imageio.imwrite(path, np.concatenate(rows))


if __name__ == "__main__":
    main()

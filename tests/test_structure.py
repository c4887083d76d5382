"""The house: imports run one way and without cycles, modules and functions stay short (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("aim_rl", "envs", "rewards", "experiments")
WORKER = "envs/robotwin/worker.py"  # runs alone in RoboTwin's interpreter, where `envs` is RoboTwin's package
MAX_MODULE, MAX_FUNCTION = 400, 60  # lines
FLOORS = (
    ("experiments",),
    ("aim_rl",),
    ("aim_rl.rl", "aim_rl.supervised"),
    ("aim_rl.rollout",),
    ("aim_rl.data", "aim_rl.runs"),
    ("aim_rl.model",),
    ("envs", "rewards"),
)
"""Rooms from top to bottom: a module imports its own room and the floors below. `aim_rl` holds the commands."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


class Import(NamedTuple):
    """One import between two modules of the project."""

    importer: str
    imported: str
    place: str  # path:line


def modules() -> dict[str, Path]:
    """Every module of the four packages, by its dotted name."""
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@functools.cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text())


def imports() -> Iterator[Import]:
    """Every import between the modules, those inside functions too."""
    known = modules()
    for module, file in known.items():
        path = file.relative_to(ROOT).as_posix()
        if path == WORKER:
            continue
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                parts = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [part if part in known else node.module for part in parts]
            else:
                continue
            for name in names:
                if name in known and name != module:
                    yield Import(module, name, f"{path}:{node.lineno}")


def room(module: str) -> str:
    """The room of `FLOORS` that holds a module."""
    longer = ".".join(module.split(".")[:2])
    return longer if longer in FLOOR_OF else module.split(".")[0]


def test_imports_run_one_way() -> None:
    def allowed(one: Import) -> bool:
        above, below = room(one.importer), room(one.imported)
        return above == below or FLOOR_OF[above] < FLOOR_OF[below]

    wrong = dict.fromkeys(
        f"{one.place}: {one.importer} imports {one.imported}" for one in imports() if not allowed(one)
    )
    assert not wrong, "\n".join(["imports against the order of the rooms:", *wrong])


def test_no_import_cycle() -> None:
    graph: dict[str, dict[str, str]] = {}
    for one in imports():
        graph.setdefault(one.importer, {}).setdefault(one.imported, one.place)
    done: set[str] = set()

    def cycle_from(module: str, path: list[str]) -> list[str]:
        """The modules of a cycle reached from `module`; empty where there is none."""
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in done:
            for imported in graph.get(module, {}):
                if found := cycle_from(imported, [*path, module]):
                    return found
            done.add(module)
        return []

    for module in graph:
        found = cycle_from(module, [])
        steps = [f"{graph[a][b]}: {a} imports {b}" for a, b in pairwise(found)]
        assert not found, "\n".join(["modules that import each other:", *steps])


def test_modules_are_short() -> None:
    lines = {file.relative_to(ROOT).as_posix(): len(file.read_text().splitlines()) for file in modules().values()}
    long = [f"{path}: {count} lines" for path, count in lines.items() if count > MAX_MODULE and path != WORKER]
    assert not long, "\n".join([f"modules over {MAX_MODULE} lines:", *long])


def test_functions_are_short() -> None:
    long = []
    for file in modules().values():
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > MAX_FUNCTION:
                    long.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.name} has {count} lines")
    assert not long, "\n".join([f"functions over {MAX_FUNCTION} lines:", *long])

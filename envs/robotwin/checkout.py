"""A RoboTwin checkout: its layout, the version of its code, and the expert's verdicts on its seeds."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.cache import read_cached, remember
from envs.errors import UserError

LAYOUTS = (  # branch of github.com/RoboTwin-Platform/RoboTwin, a folder that only it has, its configurations
    ("main", "env_cfg/task_config", "env_cfg/task_config"),
    ("RLinf_support", "robotwin/envs", "task_config"),
    ("stable_2.0", "task_config", "task_config"),
)


@dataclass(frozen=True)
class Checkout:
    """A folder with RoboTwin's code."""

    root: Path
    layout: str
    """The branch whose layout it has: main, stable_2.0 or RLinf_support."""
    configs: str
    """Folder of the task configurations, relative to `root`."""
    version: str
    """The commit; with a digest of the code if the code was changed, the digest alone without git."""


def open_checkout(root: Path, task: str) -> Checkout:
    """Looks at a RoboTwin checkout.

    Raises:
        UserError: `root` is not a checkout, has an unknown layout, or lacks the task or the assets.
    """
    root = Path(root).expanduser().resolve()
    if not (root / "envs" / "_base_task.py").is_file():
        raise UserError(
            f"{root} is no RoboTwin checkout (it has no envs/_base_task.py); give the folder it was cloned to"
        )
    found = next(((name, configs) for name, folder, configs in LAYOUTS if (root / folder).is_dir()), None)
    if found is None:
        raise UserError(
            f"{root} holds a RoboTwin of a layout that is not known (neither env_cfg/task_config nor task_config); "
            "check out its branch main, stable_2.0 or RLinf_support"
        )
    tasks = [path.stem for path in (root / "envs").glob("*.py") if not path.stem.startswith("_")]
    if task not in tasks:
        near = difflib.get_close_matches(task, tasks, n=1, cutoff=0.0)
        raise UserError(f"the RoboTwin checkout {root} has no task {task!r}; the nearest it has is {near[0]!r}")
    if not (root / "assets" / "embodiments").is_dir():
        raise UserError(
            f"the RoboTwin checkout {root} has no assets (assets/embodiments); download them with its "
            "_download_assets.sh"
        )
    return Checkout(root, found[0], found[1], _version(root, found[1]))


def _version(root: Path, configs: str) -> str:
    head = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    if head and not _git(root, "status", "--porcelain", "-uno"):
        return head
    digest = hashlib.sha256()
    for path in sorted([*(root / "envs").rglob("*.py"), *(root / configs).glob("*.yml")]):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return "-".join(filter(None, [head, f"files-{digest.hexdigest()[:16]}"]))


def _git(root: Path, *words: str) -> str | None:
    """Output of a git command in `root`; None where git is missing or refuses."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


class SeedBook:
    """The expert's verdict on every seed tried: a cached file of JSON lines that processes share.

    A line is written in one piece, so that processes may append at the same time; of two lines on one seed the first
    counts, so that a seed never changes its mind. Where the cache cannot be used (`envs.cache`), the verdicts last as
    long as this object.

    Args:
        name: what the verdicts hold for: task, configuration, embodiment, version of the checkout, evaluation or not.
    """

    def __init__(self, *name: str) -> None:
        self._name = "robotwin/" + "-".join(name).replace("/", "_") + ".jsonl"
        self._known: dict[int, dict[str, Any]] = {}

    def get(self, seed: int) -> dict[str, Any] | None:
        """`{"seed", "verdict", "scene"}` of a seed; None if the expert has not tried it."""
        if seed not in self._known:
            for line in read_cached(self._name).splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # half a line of a process that was killed
                    entry = json.loads(line)
                    known = {"seed": entry["seed"], "verdict": entry["verdict"], "scene": entry["scene"]}
                    self._known.setdefault(entry["seed"], known)
        return self._known.get(seed)

    def add(self, seed: int, verdict: str, scene: dict[str, str]) -> dict[str, Any]:
        """Notes a verdict and returns the one that counts."""
        entry = {"seed": seed, "verdict": verdict, "scene": scene}
        # A line break first: what a killed process left of its line must not swallow this one.
        remember(self._name, f"\n{json.dumps(entry)}\n", append=True)
        return self.get(seed) or self._known.setdefault(seed, entry)

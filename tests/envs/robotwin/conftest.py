"""A small fake RoboTwin checkout with the real one's folders and class interface, which misbehaves on demand."""

from __future__ import annotations

import json
import select
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envs.robotwin import worker
from envs.robotwin.env import RoboTwinEnv

FAKE = Path(__file__).parent / "fake"
CONFIGS = {"main": "env_cfg/task_config", "stable_2.0": "task_config", "RLinf_support": "task_config"}
RECEIVE = worker.receive
SMALL = {"head_size": (24, 32), "wrist_size": (12, 16)}


@dataclass
class FakeCheckout:
    root: Path
    configs: Path
    hung: int = 0
    """How many processes hung and were noticed."""

    def misbehave(self, **wish: Any) -> None:
        """From now on: place ("setup", "render", "act", "expert"), how ("die", "hang", "raise" a `text`), skip,
        once; or seeds that are `unstable`, `unsolved` or `breaking`."""
        (self.root / "misbehave.json").write_text(json.dumps(wish))

    def receive_unless_it_hangs(self, channel: socket.socket) -> Any:
        """As `worker.receive`. The time is up when the fake has said that it hangs, however slow the machine is."""
        for _ in range(12_000):
            if select.select([channel], [], [], 0.05)[0]:
                break
            path = self.root / "events.txt"
            hung = path.read_text().count("hangs\n") if path.exists() else 0
            if hung > self.hung:
                self.hung = hung
                raise TimeoutError
        return RECEIVE(channel)

    def events(self) -> list[str]:
        """What happened since the last call."""
        path = self.root / "events.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


def build(root: Path, layout: str = "main") -> FakeCheckout:
    shutil.copytree(FAKE, root, ignore=shutil.ignore_patterns("__pycache__"))
    configs = root / CONFIGS[layout]
    configs.mkdir(parents=True)
    if layout == "RLinf_support":
        (root / "robotwin" / "envs").mkdir(parents=True)
    (root / "assets" / "objects").mkdir(parents=True)
    embodiment = root / "assets" / "embodiments" / "aloha-agilex"
    embodiment.mkdir(parents=True)
    arms = [[f"{arm}_joint{i}" for i in range(6)] for arm in ("fl", "fr")]
    (embodiment / "config.yml").write_text(json.dumps({"arm_joints_name": arms}))
    for name in ("demo_clean", "demo_randomized"):
        (configs / f"{name}.yml").write_text(json.dumps({"embodiment": ["aloha-agilex"]}))
    known = {"aloha-agilex": {"file_path": "./assets/embodiments/aloha-agilex/"}}
    (configs / "_embodiment_config.yml").write_text(json.dumps(known))
    (configs / "_eval_step_limit.yml").write_text(json.dumps({"stack_blocks_two": 5}))
    return FakeCheckout(root, configs)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCheckout:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # logs that an error names stay
    return build(tmp_path / "RoboTwin")


@pytest.fixture
def make(checkout: FakeCheckout) -> Iterator[Callable[..., RoboTwinEnv]]:
    """Environments of the fake checkout, closed at the end."""
    made: list[RoboTwinEnv] = []

    def make(**changes: Any) -> RoboTwinEnv:
        arguments: dict[str, Any] = {"root": checkout.root, "python": sys.executable, "timeout": 600.0}
        arguments |= SMALL | changes
        made.append(RoboTwinEnv("stack_blocks_two", **arguments))
        return made[-1]

    yield make
    for env in made:
        env.close()

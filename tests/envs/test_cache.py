"""A cache that cannot be read or written is no cache, and stops nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs import rendering
from envs.cache import cache_file, read_cached, remember
from envs.rendering import Rendering, require_rendering
from envs.robotwin.checkout import SeedBook


def _home_is_a_file(home: Path, patch: pytest.MonkeyPatch) -> None:
    home.write_text("in the way")


def _home_of_somebody_else(home: Path, patch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.seteuid(65534)  # root may enter every folder
    else:
        home.chmod(0)


def _home_is_read_only(home: Path, patch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)


def _no_home(home: Path, patch: pytest.MonkeyPatch) -> None:
    def unknown(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    patch.setattr(Path, "home", classmethod(unknown))


def _files_are_folders(home: Path, patch: pytest.MonkeyPatch) -> None:
    for name in (rendering._cache_name(), "robotwin/task.jsonl"):
        cache_file(name).mkdir(parents=True)


def _files_are_garbage(home: Path, patch: pytest.MonkeyPatch) -> None:
    for name in (rendering._cache_name(), "robotwin/task.jsonl"):
        cache_file(name).parent.mkdir(parents=True, exist_ok=True)
        cache_file(name).write_bytes(b"\xff\x00[1]\n5\nnull\n{}\n")


FAULTS = [_home_is_a_file, _home_of_somebody_else, _home_is_read_only, _no_home, _files_are_folders, _files_are_garbage]


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def broken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose cache cannot be used."""
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)  # pytest's are its user's alone
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    user = os.geteuid()
    try:
        request.param(tmp_path / "home", monkeypatch)
        yield
    finally:
        os.seteuid(user)


@pytest.mark.usefixtures("broken")
def test_rendering_is_tried_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def probe() -> Rendering:
        tried.append(1)
        remember(rendering._cache_name(), rendering._fingerprint())
        return Rendering(device="lavapipe")

    monkeypatch.setattr(rendering, "probe_rendering", probe)
    monkeypatch.setattr(rendering, "_fingerprint", lambda: "{}")  # another user may not be able to read the packages
    require_rendering()
    assert tried


@pytest.mark.usefixtures("broken")
def test_the_seeds_verdicts_last_as_long_as_the_environment() -> None:
    book = SeedBook("task")
    assert book.get(3) is None
    verdict = {"seed": 3, "verdict": "solved", "scene": {"{A}": "box"}}
    assert book.add(3, "solved", {"{A}": "box"}) == verdict
    assert book.add(3, "unstable", {}) == verdict == book.get(3)  # a seed never changes its mind


def test_what_was_remembered_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert read_cached("folder/name") == ""
    remember("folder/name", "one")
    remember("folder/name", "two", append=True)
    assert read_cached("folder/name") == "onetwo"
    SeedBook("task").add(3, "solved", {})
    assert SeedBook("task").get(3) == {"seed": 3, "verdict": "solved", "scene": {}}

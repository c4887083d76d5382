"""Disks that are full, read-only or somebody else's: one sentence, exit code 2, and what was there stays."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aim_rl.data import cache
from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.files import episode_path, read_episode, write_episode
from aim_rl.data.lerobot_export import lerobot_writer
from aim_rl.model import AIM, PRESETS
from aim_rl.model.checkpoint import load_checkpoint, save_checkpoint
from aim_rl.rollout.kept_rollouts import RolloutNotes
from aim_rl.runs.folder import check_writable, new_run, tensorboard
from aim_rl.runs.state import RunState
from aim_rl.supervised.config import PretrainConfig
from envs.errors import exit_cleanly
from envs.files import write_json

from ..data.conftest import episode_of
from ..rollout.test_kept_rollouts import rollouts

SIZE = 4096  # kB; what the tests write fits, until the disk is filled


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}k", "tmpfs", str(tmp_path)], capture_output=True
        ).returncode
    ):
        pytest.skip("only root may mount a disk")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A folder that may be read and not written to, while nobody runs the test."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


Writer = Callable[[Path, AIM], object]


def curve(run: Path, _: AIM) -> None:
    writer = tensorboard(run)
    for step in range(30_000):
        writer.add_scalar("stage2/success", 0.5, step)
    writer.close()


def dataset(run: Path, _: AIM) -> None:
    with lerobot_writer(run / "exported") as writer:
        writer.add(episode_of())


CONFIG = PretrainConfig(task="click_bell", data=Path("data" * 5000))
WRITERS: dict[str, Writer] = {
    "checkpoint": lambda run, model: save_checkpoint(run / "checkpoint", model, {"task": "click_bell"}),
    "state": lambda run, model: RunState(run, model=model).save(1),
    "run": lambda run, _: new_run("click_bell", run / "run", CONFIG),
    "TensorBoard": curve,
    "result": lambda run, _: write_json(run / "result.json", {"seeds": list(range(30_000))}),
    "episode": lambda run, _: write_episode(episode_path(run, 1), episode_of()),
    "rollouts": lambda run, _: RolloutNotes(run).add(0, rollouts(*((seed, True, 12) for seed in range(99)))),
    "LeRobot dataset": dataset,
    "probe": lambda run, _: check_writable(run / "videos" / "a.mp4"),
}


def refusal(write: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        exit_cleanly(lambda: (write(), None)[1])
    words = capsys.readouterr().err
    assert words.startswith("error: ") and words.count("\n") == 1, words
    return words


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "probe"])
def test_a_full_disk(disk: Path, name: str, tiny_model: AIM, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(disk / "checkpoint", tiny_model, {"task": "click_bell"})
    write_episode(episode_path(disk, 0), episode_of(head=(16, 16), wrist=(16, 16)))
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "other").write_bytes(bytes(free - 8192))  # of somebody else
    before = sorted(path for path in disk.rglob("*") if path.is_file())
    words = refusal(lambda: WRITERS[name](disk, tiny_model), capsys)
    assert "No space left on device" in words and ("free some space" in words or "choose another" in words)
    load_checkpoint(disk / "checkpoint")
    read_episode(episode_path(disk, 0))
    left = {path for path in disk.rglob("*") if path.is_file()} - set(before)
    assert all("tensorboard" in path.parts for path in left), left  # the curve as far as it came; no half files
    (disk / "other").unlink()
    WRITERS[name](disk, tiny_model)  # and once there is space, it goes on


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_read_only(disk: Path, name: str, tiny_model: AIM, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert "Read-only file system" in refusal(lambda: WRITERS[name](disk, tiny_model), capsys)


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_of_somebody_else(
    foreign: Path, name: str, tiny_model: AIM, capsys: pytest.CaptureFixture[str]
) -> None:
    words = refusal(lambda: WRITERS[name](foreign, tiny_model), capsys)
    assert "Permission denied" in words and str(foreign) in words
    assert list(foreign.iterdir()) == []


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_disk_without_room_for_decoded_frames(
    disk: Path, when: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_episode(episode_path(disk, number), episode_of(seed=number))
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "other").write_bytes(bytes(free - 2**19))  # of somebody else
    with monkeypatch.context() as patch:
        if when == "meanwhile":
            patch.setattr(cache.CacheWriter, "reserve", lambda *_: None)
        words = refusal(lambda: DemonstrationSet(disk, PRESETS["tiny"]), capsys)
    expected = "the decoded frames take 0.0 GB and" if when == "before" else "No space left on device; free some space"
    assert expected in words and str(disk / ".frames") in words
    assert [path.suffix for path in (disk / ".frames").iterdir()] == [".lock"]
    (disk / "other").unlink()
    assert DemonstrationSet(disk, PRESETS["tiny"]).episodes == 3


def test_decoded_frames_of_data_on_a_disk_that_is_read_only(
    disk: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    for number in range(3):
        write_episode(episode_path(disk, number), episode_of(seed=number))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk / "home"))
    words = refusal(lambda: DemonstrationSet(disk, PRESETS["tiny"]), capsys)
    assert f"cannot be written to {disk}/.frames nor to {disk}/home" in words and "AIM_RL_CACHE=DIR" in words
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert DemonstrationSet(disk, PRESETS["tiny"]).episodes == 3
    assert list(home.glob("aim_rl/*/*/cache.json")) and not (disk / ".frames").exists()
    (home / "file").write_text("in the way")
    monkeypatch.setenv(cache.WHERE, str(home / "file"))
    assert "choose a folder by AIM_RL_CACHE=DIR" in refusal(lambda: DemonstrationSet(disk, PRESETS["tiny"]), capsys)


def test_a_tensorboard_folder_of_somebody_else_in_ones_own_run(
    foreign: Path, tiny_model: AIM, capsys: pytest.CaptureFixture[str]
) -> None:
    os.seteuid(0)
    os.chown(foreign, 65534, 65534)
    (foreign / "tensorboard").mkdir(mode=0o755)
    os.seteuid(65534)
    words = refusal(lambda: curve(foreign, tiny_model), capsys)
    assert "Permission denied" in words and str(foreign / "tensorboard") in words


def test_other_faults_are_not_taken_for_the_disks() -> None:
    def fail() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(ConnectionRefusedError):
        exit_cleanly(fail)

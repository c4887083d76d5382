"""Decoded frames on disk: written once, by one process, and written again when anything they are made of changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aim_rl.data import decoding
from aim_rl.data.cache import WHERE
from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.episode import Episode
from aim_rl.data.files import episode_path, write_episode
from aim_rl.export import ExportConfig, export
from aim_rl.model import PRESETS
from envs.constants import CAMERAS
from envs.errors import UserError

from .conftest import episode_of

TINY = PRESETS["tiny"]
SENTENCE = "is damaged, or of other data or another version; it is written again"


def small_episode(seed: int) -> Episode:
    return episode_of(24, (48, 64), (32, 32), seed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_episode(episode_path(tmp_path / "data", number), small_episode(number))
    return tmp_path / "data"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The episodes that were decoded."""
    found: list[object] = []
    read = decoding.read_episode
    monkeypatch.setattr(decoding, "read_episode", lambda source: (found.append(source), read(source))[1])
    return found


def every_frame(folder: Path) -> dict[str, torch.Tensor]:
    data = DemonstrationSet(folder, TINY)
    return data.batch(torch.arange(data.frames)) | {"train": data.train, "mean": data.waypoint_mean}


def caches(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(".frames/*/cache.json"))


def test_episodes_are_decoded_once(folder: Path, reads: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    first = every_frame(folder)
    assert len(reads) == 3 and "Decoded frames: 0.00 GB in" in capsys.readouterr().out
    again = every_frame(folder)
    assert len(reads) == 3 and capsys.readouterr().out == ""
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    DemonstrationSet(folder, replace(TINY, stride=2))  # waypoints of its own
    DemonstrationSet(folder, replace(TINY, vocab=65))  # words of its own
    assert len(reads) == 9 and len(caches(folder)) == 3
    DemonstrationSet(folder, replace(TINY, depth=1, history=2))  # the arrays are the same
    assert len(reads) == 9


def add_an_episode(folder: Path) -> None:
    write_episode(episode_path(folder, 3), small_episode(3))


def change_an_episode(folder: Path) -> None:
    write_episode(episode_path(folder, 1), small_episode(9))


def remove_an_episode(folder: Path) -> None:
    episode_path(folder, 1).unlink()


def change_a_time(folder: Path) -> None:
    os.utime(episode_path(folder, 1), ns=(1, 1))


def cut_off(folder: Path) -> None:
    path = caches(folder)[0] / "maps"
    os.truncate(path, path.stat().st_size - 1)


def lose_an_array(folder: Path) -> None:
    (caches(folder)[0] / "train").unlink()


def break_the_description(folder: Path) -> None:
    (caches(folder)[0] / "cache.json").write_text('{"content":')


CHANGES = [add_an_episode, change_an_episode, remove_an_episode, change_a_time]
CHANGES += [cut_off, lose_an_array, break_the_description]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_cache_that_is_damaged_or_of_other_data_is_written_again(
    folder: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    used, kept = DemonstrationSet(folder, TINY), every_frame(folder)
    change(folder)
    capsys.readouterr()
    found = every_frame(folder)
    words = capsys.readouterr().out
    assert SENTENCE in words and str(folder) in words and len(caches(folder)) == 1
    monkeypatch.setenv(WHERE, str(tmp_path / "fresh"))
    expected = every_frame(folder)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], value) for name, value in expected.items())
    if change is not cut_off:  # a process that uses the old cache keeps it
        assert torch.equal(used.batch(torch.arange(used.frames))["future_maps"], kept["future_maps"])


def test_a_cache_of_another_version_is_written_again(
    folder: Path, reads: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    DemonstrationSet(folder, TINY)
    monkeypatch.setattr(decoding, "VERSION", decoding.VERSION + 1)
    DemonstrationSet(folder, TINY)
    assert len(reads) == 6 and SENTENCE in capsys.readouterr().out and len(caches(folder)) == 1


def test_what_is_stored_changes_with_the_version_only() -> None:
    """Whoever changes labels, waypoints or pictures reads this: old caches would go on being used."""
    episode = episode_of(24, (240, 320), (240, 320))
    small = decoding.resize_episode(episode, TINY.head_size, TINY.wrist_size)
    rows, _ = decoding._rows(small, TINY)
    means = {name: float(np.mean(np.abs(array.astype(np.float64)))) for name, array in rows.items()}
    expected = {"head_camera": 129.54, "left_camera": 138.78, "right_camera": 118.81, "maps": 2.0012}
    expected |= {"qpos": 0.10397, "qpos_measured": 0.10554, "waypoints": 0.10233}
    expected |= {"left_endpose": 0.3, "right_endpose": 0.32857, "head_camera_intrinsic": 22.273}
    expected |= {"left_camera_intrinsic": 14.293, "right_camera_intrinsic": 14.293}
    expected |= {f"{camera}_extrinsic": 0.46933 for camera in CAMERAS}
    assert decoding.VERSION == 1, "put the means of the new version here"
    assert means == pytest.approx(expected, rel=1e-3), "raise decoding.VERSION and put the new means here"


def test_instructions_of_a_lerobot_dataset_are_part_of_it(folder: Path, tmp_path: Path, reads: list[object]) -> None:
    export(ExportConfig(data=folder, out=tmp_path / "exported"))
    every_frame(tmp_path / "exported")
    every_frame(tmp_path / "exported")
    assert len(reads) == 3
    path = tmp_path / "exported" / "meta" / "tasks.parquet"
    os.utime(path, ns=(1, 1))
    every_frame(tmp_path / "exported")
    assert len(reads) == 6


def test_the_task_of_a_folder_is_checked_on_what_is_stored_too(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match="not only of click_bell"):
            DemonstrationSet(folder, TINY, "click_bell")
    assert not (folder / ".frames").exists()
    DemonstrationSet(folder, TINY)
    with pytest.raises(UserError, match="not only of click_bell"):
        DemonstrationSet(folder, TINY, "click_bell")


def test_one_process_decodes_and_the_others_wait(
    folder: Path, reads: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Threads stand in for processes: the lock belongs to an opened file."""
    decoding_now, may_go_on = threading.Event(), threading.Event()
    read, say = decoding.read_episode, print

    def slow(source: object) -> Episode:
        decoding_now.set()
        assert may_go_on.wait(60)
        return read(source)  # pyright: ignore[reportArgumentType]

    def noted(*words: str, **how: bool) -> None:
        say(*words)
        if "waiting for it" in words[0]:
            may_go_on.set()

    monkeypatch.setattr(decoding, "read_episode", slow)
    monkeypatch.setattr("builtins.print", noted)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(every_frame, folder)
        assert decoding_now.wait(60)
        second = pool.submit(every_frame, folder)
        batches = first.result(), second.result()
    assert len(reads) == 3
    assert all(torch.equal(value, batches[1][name]) for name, value in batches[0].items())
    waiting, decoded = capsys.readouterr().out.splitlines()
    assert waiting == f"Another process decodes these frames into {caches(folder)[0]}; waiting for it."
    assert decoded.startswith("Decoded frames: ")


def test_a_decoding_that_breaks_off_leaves_no_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reads: list[object]
) -> None:
    read = decoding.read_episode

    def interrupted(source: object) -> Episode:
        if len(reads) == 2:
            raise KeyboardInterrupt
        return read(source)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoding, "read_episode", interrupted)
        every_frame(folder)
    assert [path.suffix for path in (folder / ".frames").iterdir()] == [".lock"]
    (folder / ".frames" / f"{next((folder / '.frames').iterdir()).stem}.tmp").mkdir()  # one that was killed leaves this
    every_frame(folder)
    assert [path.suffix for path in (folder / ".frames").iterdir() if path.name.startswith(".")] == [".lock"]


def test_frames_do_not_stay_in_the_memory_of_a_process(tmp_path: Path) -> None:
    def held() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

    write_episode(episode_path(tmp_path, 0), episode_of(100))
    for number in range(1, 10):
        os.link(episode_path(tmp_path, 0), episode_path(tmp_path, number))
    DemonstrationSet(tmp_path, PRESETS["small"])
    before = held()
    data = DemonstrationSet(tmp_path, PRESETS["small"])
    for indices in torch.arange(data.frames).split(4):
        data.batch(indices)
    assert sum(path.stat().st_size for path in caches(tmp_path)[0].iterdir()) > 70e6
    assert held() - before < 20e6

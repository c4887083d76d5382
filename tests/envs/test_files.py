"""Files and folders are complete or untouched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.errors import UserError
from envs.files import atomic_file, atomic_folder, folder_before, write_json


def test_a_body_that_fails_leaves_the_file_and_the_folder(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.json", tmp_path / "checkpoint"
    write_json(path, {"a": 1})
    with atomic_folder(folder) as aside:
        (aside / "a").write_text("old")
    before = path.read_text()
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder) as aside:
        (aside / "a").write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == before and (folder / "a").read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.json", "checkpoint"]


def test_two_writers_of_a_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a[1].json"  # a name that is no pattern
    other = path.with_name(f".a[1].{os.getppid()}.new.json")  # a living process
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leftover = path.with_name(f".a[1].{dead.pid}.new.json")
    for each in (other, leftover):
        each.write_text("half")
    write_json(path, {})
    assert path.read_text() == "{}\n" and other.exists() and not leftover.exists()


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_the_systems_refusal_is_one_sentence_with_its_reason(tmp_path: Path, write: Callable[..., Any]) -> None:
    (tmp_path / "file").write_text("in the way")
    refusal = r"cannot write .*file/a: .*(exists|directory); choose another place$"
    with pytest.raises(UserError, match=refusal), write(tmp_path / "file" / "a"):
        pass
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_whose_writer_was_killed_between_the_moves_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder_before(folder).mkdir()
    (folder_before(folder) / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder):
        raise KeyboardInterrupt
    assert (folder / "a").read_text() == "old" and not folder_before(folder).exists()

"""`evaluate --compare`: two results, seed by seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aim_rl import evaluate
from envs.errors import UserError


def result(path: Path, **parts: Any) -> Path:
    path.write_text(json.dumps(parts))
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate", *map(str, arguments)])
    evaluate.main()


def test_two_results_are_compared_on_the_seeds_they_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = result(tmp_path / "a.json", seeds=[1, 2, 3, 4, 5], succeeded=[1, 2, 5])
    after = result(tmp_path / "b.json", seeds=[1, 2, 3, 4, 6], succeeded=[1, 3, 4, 6])
    run(monkeypatch, "--compare", before, after)
    words = capsys.readouterr().out
    assert words.startswith(f"{before} -> {after}: +25.0 % points")
    assert "n = 4" in words and "1 kept, 2 gained, 1 lost, 0 neither, p = 1 (McNemar, exact)" in words


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"seeds": [1, 2]}, "does not say which seeds succeeded"),
        ({"seeds": 3, "succeeded": []}, "does not say which seeds succeeded"),
        ({"seeds": [7], "succeeded": [7]}, "share no seed"),
    ],
)
def test_results_that_cannot_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], expected: str
) -> None:
    good = result(tmp_path / "a.json", seeds=[1, 2], succeeded=[1])
    with pytest.raises(UserError, match=expected):
        run(monkeypatch, "--compare", good, result(tmp_path / "b.json", **parts))


@pytest.mark.parametrize(
    ("name", "value"), [("task", "click_bell"), ("setting", "randomized"), ("backend", "robotwin")]
)
def test_results_on_other_scenes_are_not_paired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Seed 1 of one task and seed 1 of another have nothing in common."""
    parts = {"task": "stack_blocks_two", "setting": "clean", "seeds": [1, 2], "succeeded": [1]}
    before, after = result(tmp_path / "a.json", **parts), result(tmp_path / "b.json", **(parts | {name: value}))
    with pytest.raises(UserError, match=f"is of {name} .*b.json of {value}, so their seeds are other scenes"):
        run(monkeypatch, "--compare", before, after)


def test_files_that_hold_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = result(tmp_path / "a.json", seeds=[1, 2], succeeded=[1])
    with pytest.raises(UserError, match=r"b\.json does not exist"):
        run(monkeypatch, "--compare", good, tmp_path / "b.json")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        run(monkeypatch, "--compare", good, tmp_path)
    (tmp_path / "b.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="does not say which seeds succeeded"):
        run(monkeypatch, "--compare", good, tmp_path / "b.json")


def test_a_task_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="give --task"):
        run(monkeypatch)

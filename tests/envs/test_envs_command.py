"""`python -m envs`: the experts from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import pytest
from rich.console import Console

from envs import __main__ as command
from envs import experts
from envs.errors import UserError
from envs.report import write_report

KEYS = {
    *("task", "setting", "seed", "episodes", "successes", "success_rate", "failed_seeds", "seconds_per_episode"),
    "mean_steps",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "envs", *arguments], capture_output=True, text=True)


def test_list_names_every_task() -> None:
    lines = run("--list").stdout.split()
    assert {"stack_blocks_two", "stack_blocks_three", "click_bell", "handover_block"} <= set(lines)


def test_result_file_and_video(tmp_path: Path) -> None:
    out, video = tmp_path / "out.json", tmp_path / "out.mp4"
    done = run("click_bell", "--episodes", "2", "--seed", "4", "--json", str(out), "--video", str(video))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert set(result) == KEYS
    assert (result["task"], result["episodes"], result["successes"]) == ("click_bell", 2, 2)
    assert result["failed_seeds"] == [] and "failed seeds" not in done.stdout
    assert result["success_rate"] == 1.0 and 5 < result["mean_steps"] < 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.mp4"]
    assert iio.improps(video, plugin="FFMPEG").shape[1:] == (480, 960, 3)


def test_seeds_that_failed_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(experts, "run_episode", lambda env, seed, writer: seed not in (6, 8))
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["envs", "click_bell", "--episodes", "5", "--seed", "4", "--json", str(out)])
    command.main()
    assert capsys.readouterr().out.endswith("; failed seeds: 6, 8\n")
    result = json.loads(out.read_text())
    assert (result["successes"], result["failed_seeds"]) == (3, [6, 8])


def test_a_report_is_made_of_the_results_that_are_there_and_makes_the_others(tmp_path: Path) -> None:
    kept = {"task": "click_bell", "setting": "clean", "seed": 4, "episodes": 2, "successes": 1, "success_rate": 0.5}
    (tmp_path / "click_bell-clean.json").write_text(json.dumps(kept | {"seconds_per_episode": 0.5, "mean_steps": 30}))
    write_report(tmp_path, ["click_bell", "turn_switch"], range(4, 6), Console(quiet=True))
    rows = {line.split(" | ")[0]: line for line in (tmp_path / "tasks.md").read_text().splitlines() if "|" in line}
    assert rows["| click_bell"].startswith("| click_bell | 1 | 2 |")
    assert rows["| turn_switch"].startswith("| turn_switch | 2 | 2 |")
    assert "randomized: click_bell.\n" in (tmp_path / "tasks.md").read_text()
    sheet = iio.imread(tmp_path / "tasks.png")
    assert sheet.shape[1] > 2 * 640 and sheet.std() > 10
    assert iio.imread(tmp_path / "tasks_grid.png").shape == (122, 1620, 3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*-*")}
    assert len(before) == 6
    write_report(tmp_path, ["click_bell", "turn_switch"], range(4, 6), Console(quiet=True))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*-*")}
    (tmp_path / "click_bell-clean.json").write_text("{}")
    with pytest.raises(UserError, match="move it away"):
        write_report(tmp_path, ["click_bell"], range(4, 6), Console(quiet=True))


def test_mistakes_end_in_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing" / "out.json")
    for arguments, word in (
        (("clik_bell",), "click_bell"),
        ((), "--list"),
        (("click_bell", "--report", str(tmp_path / "all")), "--report"),
        (("click_bell", "--episodes", "0"), "--episodes"),
        (("click_bell", "--json", missing), "cannot write"),
        (("click_bell", "--json", str(tmp_path)), "folder"),
        (("click_bell", "--video", str(tmp_path / "out.txt")), "--video"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and word in done.stderr
    assert not list(tmp_path.iterdir())

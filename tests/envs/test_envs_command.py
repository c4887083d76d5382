"""`python -m envs`: the experts from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KEYS = {"task", "setting", "episodes", "successes", "success_rate", "seconds_per_episode", "mean_steps"}


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
    assert result["success_rate"] == 1.0 and 5 < result["mean_steps"] < 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.mp4"]
    import imageio.v3 as iio

    assert iio.improps(video, plugin="FFMPEG").shape[1:] == (240, 960, 3)


def test_mistakes_end_in_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing" / "out.json")
    for arguments, word in (
        (("clik_bell",), "click_bell"),
        ((), "--list"),
        (("click_bell", "--episodes", "0"), "--episodes"),
        (("click_bell", "--json", missing), "cannot write"),
        (("click_bell", "--json", str(tmp_path)), "folder"),
        (("click_bell", "--video", str(tmp_path / "out.txt")), "--video"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and word in done.stderr
    assert not list(tmp_path.iterdir())

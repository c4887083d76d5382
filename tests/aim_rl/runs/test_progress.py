"""What a log file shows of a running command."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from aim_rl.runs import progress as module
from aim_rl.runs.progress import progress


def test_a_log_gets_a_plain_line_every_half_minute_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with progress("Stage I click_bell", 100, "steps", done=20) as bar:
        for step in range(20, 100, 10):
            now += 10
            bar.update(step + 10, f"loss {step / 100:.2f}")
    assert capsys.readouterr().out.splitlines() == [
        "Stage I click_bell 50/100 steps, 0:00:30, 0:00:50 left, loss 0.40",
        "Stage I click_bell 80/100 steps, 0:01:00, 0:00:20 left, loss 0.70",
        "Stage I click_bell 100/100 steps, 0:01:20, loss 0.90",
    ]


def test_an_interrupted_block_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress("collect click_bell", 10, "episodes") as bar:
        bar.update(3)
        raise KeyboardInterrupt
    assert capsys.readouterr().out == "collect click_bell 3/10 episodes, 0:00:00, 0:00:00 left\n"


@pytest.mark.parametrize("columns", [60, 200])
def test_a_narrow_terminal_shows_the_whole_times_and_numbers(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, width=columns, force_terminal=True, color_system=None)
    monkeypatch.setattr(module, "get_console", lambda: terminal)
    with progress("Stage II stack_blocks_two", 80, "iterations") as bar:
        bar.update(12, "success 0.81 dense 4.10 KL 0.013 5.6 episodes/s")
    words = screen.getvalue().split()
    for word in ("12/80", "iterations", "0:00:00", "0.81", "4.10", "0.013", "5.6", "episodes/s"):
        assert word in words
    assert "…" not in screen.getvalue() and ("━" in screen.getvalue()) == (columns == 200)

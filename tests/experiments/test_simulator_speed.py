"""The simulator's benchmark times every task and says what the median one reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import simulator_speed


def test_the_table_has_the_median_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator_speed, "task_names", lambda: ["click_bell", "turn_switch", "press_stapler"])
    monkeypatch.setattr("sys.argv", ["simulator_speed", "--out", str(tmp_path / "new"), "--episodes", "1"])
    simulator_speed.main()
    table = (tmp_path / "new" / "table.md").read_text().splitlines()
    rows = dict(line.strip("| ").split(" | ", 1) for line in table if line.startswith("| "))
    rates = [int(rows[task].split(" | ")[0]) for task in ("click_bell", "turn_switch", "press_stapler", "median task")]
    assert rates[-1] == sorted(rates[:-1])[1] > 0

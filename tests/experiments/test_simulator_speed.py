"""The simulator's benchmark times every task, and its last row is the median task."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import simulator_speed


def test_the_table_ends_with_the_median_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator_speed, "task_names", lambda: ["click_bell", "turn_switch", "press_stapler"])
    monkeypatch.setattr("sys.argv", ["simulator_speed", "--out", str(tmp_path / "new"), "--episodes", "1"])
    simulator_speed.main()
    table = (tmp_path / "new" / "table.md").read_text().splitlines()
    *rows, last = (line.strip("| ").split(" | ") for line in table[-4:])
    assert [row[0] for row in rows] == ["click_bell", "turn_switch", "press_stapler"] and last[0] == "median task"
    rates = sorted(int(row[1]) for row in rows)
    assert rates[0] > 0 and int(last[1]) == rates[1]

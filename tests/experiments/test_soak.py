"""The soak breaks a run from outside and tells what became of it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from envs.errors import exit_cleanly
from experiments import soak


@pytest.mark.slow
def test_faults_are_made_counted_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("UNDER_TEST", "tests.experiments.toy_run"), ("EVERY", 0.5), ("LOADED", 1.0)):
        monkeypatch.setattr(soak, name, value)
    arguments = ["--out", str(tmp_path), "--hours", "0.03", "--fault-every", "8"]
    monkeypatch.setattr(sys, "argv", ["soak", *arguments])
    exit_cleanly(soak.main)
    with (tmp_path / "soak.csv").open() as file:
        rows = list(csv.DictReader(file))
    last = rows[-1]
    assert int(last["kills"]) > 0 and int(last["stops"]) > 0
    assert int(last["kills"]) + int(last["stops"]) - int(last["replaced"]) in (0, 1)  # the last may not be noticed yet
    assert float(last["all_mb"]) > 10 and float(last["main_mb"]) > 10 and int(last["processes"]) >= 3
    assert (tmp_path / "soak.png").exists()
    table = (tmp_path / "table.md").read_text()
    assert "| processes left behind |  | 0 |" in table and "2.5" in table

"""The ablation's table from runs that are done, and the command that would train a missing one."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from aim_rl.runs.statistics import success_rate
from experiments import runs, visibility


def test_finished_runs_become_a_table_and_a_missing_one_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    successes = {"intent_causal": (60, 62), "full": (50, 40), "no_map": (30, 20)}
    commands: list[list[str]] = []

    def finish(table: str, seed: int) -> None:
        folder = tmp_path / f"{table}_{seed}"
        (folder / "checkpoint").mkdir(parents=True)
        metadata = {"minutes": 5.0, "held_out": {"map_peak_error_px": 1.5}}
        (folder / "checkpoint" / "config.json").write_text(json.dumps(metadata))
        (folder / "result.json").write_text(json.dumps(success_rate(successes[table][seed], 100)))

    def fake_run(*command: object) -> None:
        commands.append([str(word) for word in command])
        if "aim_rl.evaluate" in command:
            finish("no_map", 1)

    def resume(*command: object) -> None:
        commands.append([str(word) for word in command])
        (tmp_path / "no_map_1" / "result.json").write_text(json.dumps(success_rate(20, 100)))

    for table in successes:
        for seed in range(2):
            if (table, seed) != ("no_map", 1):
                finish(table, seed)
    for module in (visibility, runs):
        monkeypatch.setattr(module, "run", fake_run)
    arguments = ["--task", "click_bell", "--data", "D", "--out", str(tmp_path), "--seeds", "2", "--", "--steps", "7"]
    monkeypatch.setattr(sys, "argv", ["visibility", *arguments])
    visibility.main()
    train, test = commands
    assert train[train.index("--visibility") + 1] == "no_map" and train[train.index("--seed") + 1] == "1"
    assert train[-4:] == ["--steps", "7", "--out", str(tmp_path / "no_map_1")]
    assert test[test.index("--checkpoint") + 1] == str(tmp_path / "no_map_1")
    (tmp_path / "no_map_1" / "result.json").unlink()  # stopped before it was evaluated
    (tmp_path / "no_map_1" / "config.json").touch()
    commands.clear()
    for module in (visibility, runs):
        monkeypatch.setattr(module, "run", resume)
    visibility.main()
    assert commands[0][commands[0].index("--resume") + 1] == str(tmp_path / "no_map_1")
    assert "--out" not in commands[0]
    with (tmp_path / "results.csv").open() as file:
        rows = {(row["visibility"], row["seed"]): int(row["successes"]) for row in csv.DictReader(file)}
    assert rows[("intent_causal", "1")] == 62 and rows[("no_map", "1")] == 20 and len(rows) == 6
    table = (tmp_path / "table.md").read_text()
    assert "61.0 %" in table
    assert "| 60, 62 (1.4) | 1.50, 1.50 | 5.0, 5.0 |" in table

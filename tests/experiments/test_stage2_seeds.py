"""The table and the plot over training seeds, from runs that are done: those are not run again."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import imageio.v3 as iio
import pytest

from aim_rl.runs.folder import tensorboard
from aim_rl.runs.statistics import success_rate
from envs.errors import UserError
from experiments import stage2_seeds


def finished_run(run: Path, successes: int) -> None:
    writer = tensorboard(run)
    for iteration in range(7):
        writer.add_scalar("stage2/success", 0.1 * iteration, 1000 * iteration)
    writer.close()
    stages = {"stage1": success_rate(40, 100), "stage2": success_rate(successes, 100)}
    (run / "result.json").write_text(json.dumps({**stages, "environment_steps": 7000, "minutes": 1.25}))


def test_finished_seeds_become_a_table_and_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, successes in enumerate((60, 70)):
        finished_run(tmp_path / f"seed_{seed}", successes)
    arguments = [
        "stage2_seeds",
        "--task",
        "stack_blocks",
        "--out",
        str(tmp_path),
        "--seeds",
        "2",
        "--",
        "--rollout.num-groups",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(stage2_seeds, "run_or_go_on", lambda *_: pytest.fail("a finished seed was run again"))
    stage2_seeds.main()
    with (tmp_path / "results.csv").open() as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    assert [int(row["successes"]) for row in rows.values()] == [40, 60, 70, 130]
    assert int(rows["Stage II, all seeds"]["episodes"]) == 200
    assert rows["Stage II, seed 1"]["minutes"] == "1.2"
    table = (tmp_path / "table.md").read_text()
    assert "--rollout.num-groups 1" in table and "65.0 %" in table
    assert iio.imread(tmp_path / "success.png").std() > 10


def test_stage1_is_measured_once_for_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake_run(module: str, folder: Path, options: list[object], passed_on: list[str]) -> None:
        asked.append("--no-measure-stage1" in options)
        finished_run(folder, 50)

    monkeypatch.setattr(stage2_seeds, "run_or_go_on", fake_run)
    monkeypatch.setattr(sys, "argv", ["stage2_seeds", "--task", "stack_blocks", "--out", str(tmp_path)])
    stage2_seeds.main()
    assert asked == [False, True, True]
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--", "--no-measure-stage1"])
    with pytest.raises(UserError, match="the table compares with Stage I"):
        stage2_seeds.main()

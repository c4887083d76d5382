"""Do actions need the value map? `python -m experiments.visibility --task T --data DIR --out DIR`.

Trains Stage I with the paper's intent-causal mask, with full visibility, and with actions that cannot read the value
map: same parameters, steps and data, several seeds. Runs have equal steps, not equal minutes, because a step costs
almost the same under every mask and other processes on the machine would distort minutes. Arguments after `--` go to
`aim_rl.pretrain`. The command can be interrupted and repeated, also as `--resume DIR`: finished runs are kept,
interrupted ones continue. Writes results.csv and table.md into DIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from aim_rl.model.visibility import TABLES
from aim_rl.runs.interrupt import says_how_to_resume
from aim_rl.runs.statistics import describe, success_rate
from envs import resolve_task
from envs.errors import exit_cleanly
from envs.files import read_json
from experiments.runs import begin, of_each, own_and_passed_on, run, run_or_go_on, write_csv, write_table


@dataclass
class VisibilityConfig:
    """Stage I under three visibility tables."""

    task: str
    """RoboTwin's task name."""
    data: Path
    """Dataset directory written by `python -m aim_rl.collect`."""
    out: Path
    """Folder of the runs (intent_causal_0 and so on) and the table."""
    seeds: int = 3
    """Training seeds 0 .. seeds - 1."""
    episodes: int = 100
    """Held-out episodes per run."""


def train(config: VisibilityConfig, table: str, seed: int, arguments: list[str]) -> dict[str, Any]:
    """Trains and evaluates one model unless it has a result; returns its success, minutes and held-out errors."""
    folder = config.out / f"{table}_{seed}"
    result = folder / "result.json"
    if not result.exists():
        common = ["--task", config.task]
        how = [*common, "--data", config.data, "--visibility", table, "--seed", seed]
        run_or_go_on("aim_rl.pretrain", folder, how, arguments)
        run("aim_rl.evaluate", *common, "--checkpoint", folder, "--episodes", config.episodes, "--json", result)
    return read_json(folder / "checkpoint" / "config.json") | read_json(result)


def main() -> None:
    own, arguments = own_and_passed_on()
    config = tyro.cli(VisibilityConfig, args=own, description=__doc__)
    begin(resolve_task(config.task), config.out, config, "seeds", passed_on=arguments)
    results: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    with says_how_to_resume(config.out):
        for seed in range(config.seeds):
            for table, runs in results.items():
                runs.append(train(config, table, seed, arguments))
    lines = [
        {
            "visibility": table,
            "seed": seed,
            **{key: one[key] for key in ("successes", "episodes", "ci_low", "ci_high", "minutes")},
            "peak_px": one["held_out"]["map_peak_error_px"],
        }
        for table, runs in results.items()
        for seed, one in enumerate(runs)
    ]
    write_csv(config.out / "results.csv", lines)
    rows = []
    for table, runs in results.items():
        rate = success_rate(sum(one["successes"] for one in runs), sum(one["episodes"] for one in runs))
        peaks = ", ".join(f"{one['held_out']['map_peak_error_px']:.2f}" for one in runs)
        minutes = ", ".join(f"{one['minutes']:.1f}" for one in runs)
        rows.append([table, describe(rate), of_each(runs), peaks, minutes])
    columns = ["visibility", "success, seeds pooled (Wilson 95 %)", "of each seed, % (s.d.)"]
    columns += ["map's peak error (canvas px)", "minutes each"]
    write_table(config.out / "table.md", columns, rows)


if __name__ == "__main__":
    exit_cleanly(main)

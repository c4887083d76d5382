"""Stage II from several training seeds: `python -m experiments.stage2_seeds --task stack_blocks --out DIR`.

Runs `aim_rl.finetune` once per seed; arguments after `--` go to it. A seed whose result.json is there is not run
again, so that the command can be stopped and repeated. Writes results.csv, table.md and success.png into DIR.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aim_rl.statistics import describe, success_rate
from envs.errors import exit_cleanly

WINDOW = 5  # iterations that the plotted curve averages over


@dataclass
class SeedsConfig:
    """Stage II from several training seeds."""

    task: str
    """RoboTwin's task name; stack_blocks is short for stack_blocks_two."""
    out: Path
    """Folder of the runs (seed_0 and so on), the table and the plot."""
    seeds: int = 3
    """Training seeds 0 .. seeds - 1."""


def run_seed(config: SeedsConfig, seed: int, arguments: list[str]) -> dict[str, Any]:
    """Runs one seed unless it is done; returns its result.json."""
    run = config.out / f"seed_{seed}"
    if not (run / "result.json").exists():
        command = [sys.executable, "-m", "aim_rl.finetune", "--task", config.task, "--seed", str(seed)]
        subprocess.run([*command, "--out", str(run), *arguments], check=True)
    return json.loads((run / "result.json").read_text())


def exploratory_success(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps and success of the exploring policy, per iteration."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    scalars = events.Scalars("stage2/success")
    return np.array([event.step for event in scalars]), np.array([event.value for event in scalars])


def plot(config: SeedsConfig, results: list[dict[str, Any]]) -> None:
    """The exploring policy's success against environment steps, and both stages on held-out seeds."""
    figure, (curves, bars) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2), sharey=True)
    for seed in range(len(results)):
        steps, success = exploratory_success(config.out / f"seed_{seed}")
        window = min(WINDOW, len(success))
        smooth = np.convolve(success, np.ones(window) / window, "valid")
        curves.plot(steps[window - 1 :] / 1000, smooth, color=f"C{seed}", label=f"seed {seed}")
        curves.plot(steps / 1000, success, ".", color=f"C{seed}", alpha=0.2)
    curves.set(xlabel="environment steps (thousands)", ylabel="success", title="exploring policy, training scenes")
    curves.legend()
    rates = [("Stage I", results[0]["stage1"])] + [(f"seed {i}", result["stage2"]) for i, result in enumerate(results)]
    for place, (_, rate) in enumerate(rates):
        error = [[rate["success_rate"] - rate["ci_low"]], [rate["ci_high"] - rate["success_rate"]]]
        colour = "0.6" if place == 0 else f"C{place - 1}"
        bars.bar(place, rate["success_rate"], yerr=error, color=colour, capsize=4)
    bars.set_xticks(range(len(rates)), [name for name, _ in rates])
    bars.set(title="held-out scenes, Wilson 95 %", ylim=(0, 1))
    figure.tight_layout()
    figure.savefig(config.out / "success.png", dpi=120)


def main() -> None:
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    config, arguments = tyro.cli(SeedsConfig, args=sys.argv[1:split], description=__doc__), sys.argv[split + 1 :]
    results = [run_seed(config, seed, arguments) for seed in range(config.seeds)]
    rows = [("Stage I", results[0]["stage1"], "", "")]
    rows += [
        (f"Stage II, seed {seed}", result["stage2"], result["environment_steps"], f"{result['minutes']:.1f}")
        for seed, result in enumerate(results)
    ]
    successes = sum(result["stage2"]["successes"] for result in results)
    episodes = sum(result["stage2"]["episodes"] for result in results)
    rows.append(("Stage II, all seeds", success_rate(successes, episodes), "", ""))
    with (config.out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["policy", "successes", "episodes", "ci_low", "ci_high", "environment_steps", "minutes"])
        for name, rate, steps, minutes in rows:
            interval = [f"{rate[end]:.4f}" for end in ("ci_low", "ci_high")]
            writer.writerow([name, rate["successes"], rate["episodes"], *interval, steps, minutes])
    lines = ["| policy | success (Wilson 95 %) | environment steps | minutes |", "|---|---|---|---|"]
    lines += [f"| {name} | {describe(rate)} | {steps} | {minutes} |" for name, rate, steps, minutes in rows]
    command = " ".join(["python -m experiments.stage2_seeds", *sys.argv[1:]])
    (config.out / "table.md").write_text("\n".join([f"`{command}`", "", *lines, ""]))
    plot(config, results)
    print((config.out / "table.md").read_text())


if __name__ == "__main__":
    exit_cleanly(main)

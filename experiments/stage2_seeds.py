"""Stage II from several training seeds: `python -m experiments.stage2_seeds --task stack_blocks --out DIR`.

Runs `aim_rl.finetune` once per seed; arguments after `--` go to it. The command can be interrupted and repeated, also
as `--resume DIR`: finished seeds are kept, interrupted ones continue. Writes results.csv, table.md and success.png into
DIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import tyro

from aim_rl.runs.interrupt import says_how_to_resume
from aim_rl.runs.statistics import describe, success_rate
from envs import resolve_task
from envs.errors import UserError, exit_cleanly
from envs.files import atomic_file, read_json
from experiments.runs import begin, own_and_passed_on, run_or_go_on, scalars, smooth, write_csv, write_table


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
    """Runs one seed unless it is finished; returns its result.json. Only the first run measures Stage I."""
    folder = config.out / f"seed_{seed}"
    if not (folder / "result.json").exists():
        once = ["--no-measure-stage1"] if seed else []
        run_or_go_on("aim_rl.finetune", folder, ["--task", config.task, "--seed", seed, *once], arguments)
    return read_json(folder / "result.json")


def plot(config: SeedsConfig, results: list[dict[str, Any]]) -> None:
    """The exploring policy's success against environment steps, and both stages on held-out seeds."""
    figure, (curves, bars) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2), sharey=True)
    for seed in range(len(results)):
        steps, success = scalars(config.out / f"seed_{seed}", "stage2/success")
        at, mean = smooth(steps, success)
        curves.plot(at / 1000, mean, color=f"C{seed}", label=f"seed {seed}")
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
    with atomic_file(config.out / "success.png") as aside:
        figure.savefig(aside, dpi=120)


def main() -> None:
    own, arguments = own_and_passed_on()
    config = tyro.cli(SeedsConfig, args=own, description=__doc__)
    if config.seeds < 1:
        raise UserError("--seeds must be at least 1")
    if "--no-measure-stage1" in arguments:
        raise UserError("leave --no-measure-stage1 out: the table compares with Stage I, which is measured once")
    begin(resolve_task(config.task), config.out, config, "seeds", passed_on=arguments)
    with says_how_to_resume(config.out):
        results = [run_seed(config, seed, arguments) for seed in range(config.seeds)]
    rows = [("Stage I", results[0]["stage1"], "", "")]
    rows += [
        (f"Stage II, seed {seed}", result["stage2"], result["environment_steps"], f"{result['minutes']:.1f}")
        for seed, result in enumerate(results)
    ]
    successes = sum(result["stage2"]["successes"] for result in results)
    episodes = sum(result["stage2"]["episodes"] for result in results)
    rows.append(("Stage II, all seeds", success_rate(successes, episodes), "", ""))
    lines = [
        {
            "policy": name,
            **{key: rate[key] for key in ("successes", "episodes")},
            **{end: f"{rate[end]:.4f}" for end in ("ci_low", "ci_high")},
            "environment_steps": steps,
            "minutes": minutes,
        }
        for name, rate, steps, minutes in rows
    ]
    write_csv(config.out / "results.csv", lines)
    plot(config, results)
    columns = ["policy", "success (Wilson 95 %)", "environment steps", "minutes"]
    write_table(config.out / "table.md", columns, [(name, describe(rate), *rest) for name, rate, *rest in rows])


if __name__ == "__main__":
    exit_cleanly(main)

"""Which reward learns fastest? `python -m experiments.reward_shaping --task T --out DIR [-- --iterations 60]`.

Runs Stage II for every variant of the reward, weight and training seed; arguments after `--` go to `aim_rl.finetune`.
The command can be interrupted and repeated, also as `--resume DIR`: finished runs are kept, interrupted ones continue.
Runs are independent, so machines can share a grid, each with its own `--variants` or `--seeds`. After every run it
writes results.csv, curves.csv, table.md and success.png of all finished runs in DIR.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import tyro

import envs
from aim_rl.evaluate import choose_checkpoint
from aim_rl.model.pretrained import read_metadata
from aim_rl.rl.config import parse_flags
from aim_rl.runs.interrupt import says_how_to_resume
from aim_rl.runs.statistics import describe, success_rate
from envs.errors import UserError, exit_cleanly
from envs.files import atomic_file, read_json
from envs.tabletop.task import Task, task_class
from experiments.runs import (
    band,
    begin,
    of_each,
    own_and_passed_on,
    run,
    run_or_go_on,
    scalars,
    steps_to,
    write_csv,
    write_table,
)
from rewards import Shaping

EARNED: dict[Shaping, float] = {
    "settled": 5.10,
    "additive": 30.70,
    "length_normalised": 0.34,
    "best_so_far": 3.50,
    "gated": 0.34,  # as length_normalised: the same mean, paid at success
    "privileged": 0.87,
    "potential": 1.0,  # not measured: discounted, an episode earns 0; a single step earns at most 1
}
"""Mean return of a successful Stage I episode on stack_blocks_two (experiments/reward_audit.py, docs/results.md)."""


@dataclass(frozen=True)
class Variant:
    """A row of the grid: flags of `aim_rl.finetune`; the flag `weight` gets λ times `scale`."""

    flags: tuple[str, ...]
    scale: float
    weight: str = "--reward.lambda-dense"


def shaped(shaping: Shaping, *more: str, weight: str = "--reward.lambda-dense") -> Variant:
    """A variant scaled so that a success earns as much as by `settled`; `sparse` has no dense reward to scale.

    Raises:
        KeyError: `EARNED` lacks the shaping.
    """
    scale = 0.0 if shaping == "sparse" else EARNED["settled"] / EARNED[shaping]
    return Variant(("--reward.shaping", shaping, *more), scale, weight)


GROUPS = ("--rl.advantage", "group", "--rollout.group-size", "8", "--rollout.num-groups", "8")
VARIANTS: dict[str, Variant] = {
    "sparse": shaped("sparse"),
    "settled": shaped("settled"),
    "additive": shaped("additive"),
    "length_normalised": shaped("length_normalised"),
    "best_so_far": shaped("best_so_far"),
    "potential": shaped("potential"),
    "gated": shaped("gated"),
    "annealed": shaped("additive", "--reward.anneal"),
    "held": shaped("additive", "--reward.maps", "held"),
    # Group-relative advantages: of the summed reward, of both parts separately, and of success alone.
    "group": shaped("settled", *GROUPS),
    "group_apart": shaped("settled", *GROUPS, weight="--rl.dense-weight"),
    "group_sparse": shaped("sparse", *GROUPS),
    # Controls: wrong maps, a uniform map, and the simulator's progress as upper bound.
    "settled_other_decision": shaped("settled", "--reward.maps", "other_decision"),
    "settled_other_scene": shaped("settled", "--reward.maps", "other_scene"),
    "best_so_far_other_scene": shaped("best_so_far", "--reward.maps", "other_scene"),
    "additive_other_scene": shaped("additive", "--reward.maps", "other_scene"),
    "additive_uniform": shaped("additive", "--reward.maps", "uniform"),
    "privileged": shaped("privileged"),
    # Ablation: the world streams are trained as well, and the reward with them.
    "world_trained": shaped("settled", "--train-world"),
}
DEFAULT = ("sparse", "settled", "additive", "best_so_far", "potential", "settled_other_scene", "privileged")


@dataclass
class ShapingConfig:
    """A grid of rewards, weights and training seeds."""

    task: str
    """RoboTwin's task name; stack_blocks is short for stack_blocks_two."""
    out: Path
    """Folder of the runs, the tables and the plot."""
    stage1: Path | None = None
    """Stage I run or checkpoint that every run starts from; the shipped one by default."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers; by default the one that --stage1 names."""
    variants: tuple[str, ...] = DEFAULT
    """Rows of `VARIANTS` in experiments/reward_shaping.py."""
    lambdas: tuple[float, ...] = (0.2,)
    """Weights λ of the dense reward: --reward.lambda-dense of `settled`. The others are scaled so that a success
    earns as much by them, 5.1 λ (`EARNED`), beside 1 for itself."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    thresholds: tuple[float, ...] = (0.7, 0.9)
    """Success rates; the environment steps to reach each are reported."""
    episodes: int = 100
    """Held-out episodes that each run is evaluated on."""


def measure(config: ShapingConfig, arguments: list[str]) -> None:
    """Runs what has no result yet and reports after every run."""
    task = envs.resolve_task(config.task)
    begin(task, config.out, config, "variants", "lambdas", "seeds", "thresholds", passed_on=arguments)
    stage1 = config.out / "stage1.json"
    if not stage1.exists():
        start = [] if config.stage1 is None else ["--checkpoint", config.stage1]
        start += [] if config.wan is None else ["--wan", config.wan]
        run("aim_rl.evaluate", "--task", config.task, *start, "--episodes", config.episodes, "--json", stage1)
    for seed in config.seeds:  # seed by seed: an interrupted grid can still be compared
        for name in config.variants:
            variant = VARIANTS[name]
            for weight in config.lambdas if variant.scale else (0.0,):
                folder = config.out / f"{name}-{weight:g}-{seed}"
                if not (folder / "result.json").exists():
                    run_or_go_on("aim_rl.finetune", folder, options(config, name, weight, seed), arguments)
                    report(config, read_json(stage1), finished(config.out))
    report(config, read_json(stage1), finished(config.out))


def options(config: ShapingConfig, name: str, weight: float, seed: int) -> list[str]:
    """Arguments for `aim_rl.finetune`."""
    variant = VARIANTS[name]
    words = ["--task", config.task, "--seed", seed, *variant.flags, variant.weight, f"{variant.scale * weight:g}"]
    words += [] if config.stage1 is None else ["--stage1", config.stage1]
    words += [] if config.wan is None else ["--wan", config.wan]
    return [str(word) for word in [*words, "--no-measure-stage1", "--evaluation-episodes", config.episodes]]


def check_all(config: ShapingConfig, arguments: list[str]) -> None:
    """Raises UserError before the first run if any variant cannot be trained."""
    unknown = [name for name in config.variants if name not in VARIANTS]
    if unknown:
        raise UserError(f"unknown variant {unknown[0]!r}; choose from {', '.join(VARIANTS)}")
    task = envs.resolve_task(config.task)
    read_metadata(choose_checkpoint(task, config.stage1, "--stage1"), task)
    for name, weight in itertools.product(config.variants, config.lambdas):
        parse_flags(None, [*options(config, name, weight, 0), *arguments])


def finished(out: Path) -> list[dict[str, Any]]:
    """Finished runs in a grid's folder, in the order of `VARIANTS`."""
    runs = []
    for file in out.glob("*/result.json"):
        match = re.fullmatch(r"(\w+)-(.+)-(\d+)", file.parent.name)
        if match is not None and match[1] in VARIANTS:
            place = {"variant": match[1], "lambda": float(match[2]), "seed": int(match[3])}
            runs.append({**place, "folder": file.parent, "result": read_json(file)})
    return sorted(runs, key=lambda one: (list(VARIANTS).index(one["variant"]), one["lambda"], one["seed"]))


def describe_run(config: ShapingConfig, one: dict[str, Any]) -> dict[str, Any]:
    """A line of results.csv."""
    folder, rate = one["folder"], one["result"]["stage2"]
    success = scalars(folder, "stage2/success")
    alarms, hovering = (scalars(folder, f"stage2/watch/{tag}")[1] for tag in ("alarm", "hovering"))
    return {
        **{key: one[key] for key in ("variant", "lambda", "seed")},
        **{key: rate[key] for key in ("successes", "episodes", "ci_low", "ci_high")},
        "environment_steps": one["result"]["environment_steps"],
        **{f"steps_to_{share:g}": steps_to(share, *success) for share in config.thresholds},
        "minutes": round(one["result"]["minutes"], 1),
        "alarm_share": round(float(alarms.mean()), 3),
        "hovering_last": round(float(hovering[-5:].mean()), 3),
    }


def curves(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of curves.csv: every iteration of every run, with exploration."""
    tags = {"success": "success", "return_dense": "return_dense", "hovering": "watch/hovering"}
    lines = []
    for one in runs:
        read = {name: scalars(one["folder"], f"stage2/{tag}") for name, tag in tags.items()}
        for i, step in enumerate(read["success"][0]):
            values = {name: round(float(value[1][i]), 4) for name, value in read.items()}
            lines.append(
                {key: one[key] for key in ("variant", "lambda", "seed")} | {"environment_steps": int(step)} | values
            )
    return lines


def cells(runs: list[dict[str, Any]]) -> dict[tuple[str, float], list[dict[str, Any]]]:
    """Runs grouped by variant and weight."""
    table: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for one in runs:
        table.setdefault((one["variant"], one["lambda"]), []).append(one)
    return table


def plot(config: ShapingConfig, stage1: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    """Success of the exploring policies against environment steps: mean and range over the training seeds."""
    figure, axes = plt.subplots(figsize=(8, 5))
    for i, ((name, weight), seeds) in enumerate(cells(runs).items()):
        label = f"{name}, λ = {weight:g}" if weight else name
        band(axes, [scalars(one["folder"], "stage2/success") for one in seeds], label, f"C{i % 10}")
    axes.axhline(stage1["success_rate"], color="0.6", linestyle=":", label="Stage I, held-out scenes, no exploration")
    axes.set(xlabel="environment steps (thousands)", ylabel="success, exploring", ylim=(0, 1), title=config.task)
    axes.legend(fontsize="small")
    figure.tight_layout()
    with atomic_file(config.out / "success.png") as aside:
        figure.savefig(aside, dpi=120)
    plt.close(figure)


def compare_steps(steps: list[int | None], sparse: list[int | None]) -> str:
    """Mean and range over the training seeds, and the ratio to sparse; every seed's value if one never got there."""
    reached = [step for step in steps if step is not None]
    if len(reached) < len(steps):
        return ", ".join(str(step or "never") for step in steps)
    mean = fmean(reached)
    text = f"{mean:.0f} ({min(reached)} to {max(reached)})"
    reference = [step for step in sparse if step is not None]
    return f"{text}, {mean / fmean(reference):.2f} × sparse" if sparse and len(reference) == len(sparse) else text


def report(config: ShapingConfig, stage1: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    """Writes tables and plot of the finished runs."""
    lines = [describe_run(config, one) for one in runs]
    write_csv(config.out / "results.csv", lines)
    write_csv(config.out / "curves.csv", curves(runs))
    plot(config, stage1, runs)
    start = describe(success_rate(stage1["successes"], stage1["episodes"]))
    rows: list[list[object]] = [["Stage I", "", start, *[""] * (3 + len(config.thresholds))]]
    keys = [f"steps_to_{share:g}" for share in config.thresholds]
    sparse = [line for line in lines if line["variant"] == "sparse"]
    for (name, weight), seeds in cells(runs).items():
        own_lines = [line for line in lines if (line["variant"], line["lambda"]) == (name, weight)]
        rate = success_rate(*(sum(line[key] for line in own_lines) for key in ("successes", "episodes")))
        reached = [compare_steps([line[key] for line in own_lines], [line[key] for line in sparse]) for key in keys]
        alarm = max(line["alarm_share"] for line in own_lines)
        hovering = sum(line["hovering_last"] for line in own_lines) / len(seeds)
        rows.append(
            [name, f"{weight:g}", describe(rate), of_each(own_lines), *reached, f"{alarm:.0%}", f"{hovering:.0%}"]
        )
    columns = ["reward", "λ", "success, seeds pooled (Wilson 95 %)", "of each seed, % (s.d.)"]
    columns += [f"environment steps to {share:.0%} (exploring)" for share in config.thresholds]
    columns += ["iterations with alarm, at most", "hovering"]
    write_table(config.out / "table.md", columns, rows)


def main() -> None:
    own, arguments = own_and_passed_on()
    config = tyro.cli(ShapingConfig, args=own, description=__doc__)
    if config.variants == DEFAULT and task_class(envs.resolve_task(config.task)).progress is Task.progress:
        print(f"{config.task} measures no progress (`Task.progress` in its file): `privileged` is left out.")
        config.variants = tuple(name for name in DEFAULT if name != "privileged")
    check_all(config, arguments)
    with says_how_to_resume(config.out):
        measure(config, arguments)


if __name__ == "__main__":
    exit_cleanly(main)

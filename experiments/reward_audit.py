"""Does a reward tell success from failure? `python -m experiments.reward_audit --task T --out DIR`.

Rolls out Stage I as the first iterations of Stage II do. For every dense reward in `AUDITED` it reports, before any
training, what successful and failed episodes earn, and how often a successful one earns more than a failed one. Below
0.5 the reward pays for failing. Writes table.md into DIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

import envs
from aim_rl.evaluate import choose_checkpoint
from aim_rl.finetune import simulate
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.rl.config import FinetuneConfig
from aim_rl.rl.metrics import succeeded
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.groups import CompletedRollouts, training_batches
from aim_rl.runs.folder import check_writable, gpu_or_cpu, use_all_cores
from aim_rl.runs.progress import progress
from envs.errors import UserError, exit_cleanly
from envs.tabletop.task import Task, task_class
from experiments.runs import write_table
from rewards import MapSource, RewardConfig, Shaping
from rewards.torchrl_transform import ValueMapRewardTransform

AUDITED: tuple[tuple[Shaping, MapSource], ...] = (
    ("additive", "refreshed"),
    ("additive", "held"),
    ("additive", "uniform"),
    ("additive", "other_scene"),
    ("length_normalised", "refreshed"),
    ("best_so_far", "refreshed"),
    ("settled", "refreshed"),
    ("settled", "held"),
    ("settled", "other_scene"),
    ("settled", "other_decision"),
    ("privileged", "refreshed"),
)
"""Rewards that are compared, as (shaping, maps). Two shapings are left out: `gated` is paid for success itself, and the
discounted sum of `potential` is 0 for every episode, its undiscounted sum a penalty on length."""


@dataclass
class AuditConfig:
    """Compares what successful and failed episodes earn by the dense rewards in `AUDITED`."""

    task: str
    """RoboTwin's task name; stack_blocks is short for stack_blocks_two."""
    out: Path
    """Folder of table.md."""
    stage1: Path | None = None
    """Stage I run or checkpoint; the shipped one by default."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers; by default the one that the checkpoint names."""
    iterations: int = 8
    """Iterations of 64 episodes."""
    seed: int = 0


def earned(config: AuditConfig, task: str) -> tuple[dict[str, Tensor], Tensor]:
    """Returns by each reward, f32 [episodes], and success, bool [episodes]."""
    checkpoint = choose_checkpoint(task, config.stage1, "--stage1")
    model = load_checkpoint(checkpoint, task, config.wan)[0].to(gpu_or_cpu())
    training = FinetuneConfig(task=task, seed=config.seed)
    torch.manual_seed(config.seed)
    policy = AimPolicy(model, model.preset.execute, training.exploration.sampler, training.exploration.noise_level)
    sums: dict[str, list[Tensor]] = {}
    success: list[Tensor] = []
    simulators = simulate(training, policy, ())
    measured = task_class(task).progress is not Task.progress
    rewards = [row for row in AUDITED if measured or row[0] != "privileged"]
    try:
        with progress(f"Roll out Stage I on {task}", config.iterations, "iterations") as bar:
            batches = training_batches(
                simulators, CompletedRollouts(), training.rollout.group_size * training.rollout.num_groups
            )
            for iteration, rollouts in zip(range(config.iterations), batches, strict=False):
                for shaping, maps in rewards:
                    reward = RewardConfig(1.0, 0.0, shaping, training.rl.gamma, maps)
                    paid = ValueMapRewardTransform(reward, model.preset.head_size)(rollouts)["next", "reward_dense"]
                    sums.setdefault(f"{shaping}, {maps}", []).append(paid.sum((1, 2)))
                    if (shaping, maps) == ("settled", "refreshed"):
                        sums.setdefault("settled, refreshed, never taken back", []).append(
                            paid.clamp_min(0).sum((1, 2))
                        )
                success.append(succeeded(rollouts))
                bar.update(iteration + 1, "")
    finally:
        simulators.shutdown()
    return {name: torch.cat(parts) for name, parts in sums.items()}, torch.cat(success)


def earns_more(succeeded: Tensor, failed: Tensor) -> float:
    """Share of pairs in which the successful episode earned more; ties count half (area under the ROC curve)."""
    difference = succeeded[:, None] - failed
    return ((difference > 0).float().mean() + (difference == 0).float().mean() / 2).item()


def main() -> None:
    config = tyro.cli(AuditConfig, description=__doc__)
    task = envs.resolve_task(config.task)
    if config.iterations < 1:
        raise UserError("--iterations must be at least 1")
    FinetuneConfig(task=task, stage1=config.stage1, wan=config.wan, seed=config.seed)
    check_writable(config.out / "table.md")
    use_all_cores()
    sums, success = earned(config, task)
    if success.all() or not success.any():
        raise UserError(
            f"all {len(success)} episodes ended alike, so there is nothing to compare; "
            "choose another --stage1 or more --iterations"
        )
    rows = []
    for name, total in sums.items():
        parts = [total[success], total[~success]]
        rows.append([name, *(f"{part.mean():.2f} ± {part.std():.2f}" for part in parts), f"{earns_more(*parts):.2f}"])
    count = f"{int(success.sum())} of {len(success)}"
    columns = ["reward, maps", f"success earns ({count})", "failure earns (mean ± s.d.)", "success earns more"]
    write_table(config.out / "table.md", columns, rows)


if __name__ == "__main__":
    exit_cleanly(main)

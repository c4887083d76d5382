"""Why does a policy fail? `python -m experiments.diagnose --task T --checkpoint RUN --out DIR`.

Rolls out a policy on validation scenes and writes, as Markdown and CSV into DIR and together into result.json:

- endings, kinds, episodes: after which interaction episodes fail, and in which scenes;
- probe: where a small network sees the bodies from what the frozen streams offer the action head;
- branches: whether a chunk that the head itself may draw saves an episode that is about to fail;
- tries: how often exploration solves each scene, by sampler and noise level;
- gradients: whether the halves of a training batch agree, by algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from aim_rl.evaluate import choose_checkpoint
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.rl.config import FinetuneConfig, RolloutOptions
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from aim_rl.runs.folder import check_writable, gpu_or_cpu, one_thread
from aim_rl.runs.statistics import describe, success_rate
from envs.errors import UserError, exit_cleanly
from envs.files import write_json
from envs.rendering import require_rendering
from experiments.diagnose.episodes import Row, table_of_endings, table_of_episodes, table_of_kinds, watch
from experiments.diagnose.exploration import table_of_branches, table_of_tries
from experiments.diagnose.gradients import table_of_gradients
from experiments.diagnose.probe import table_of_probes
from experiments.runs import write_csv, write_table


@dataclass
class DiagnoseConfig:
    """Diagnoses a policy of the built-in simulator."""

    task: str
    """RoboTwin's task name; stack_blocks is short for stack_blocks_two."""
    out: Path
    """Folder of the tables."""
    checkpoint: Path | None = None
    """Folder of a run or a checkpoint; the shipped one by default."""
    episodes: int = 100
    """Validation scenes that the policy is watched in, to RoboTwin's step limit."""
    scenes: int = 20
    """Scenes that exploration tries, and failed episodes that are branched from."""
    tries: int = 16
    """Of each of them."""
    batches: int = 3
    """Of 64 episodes, whose gradients are compared."""
    step_limit: int = RolloutOptions.step_limit
    """Control steps of an explored episode, of a branch, and of what the probe reads; as --rollout.step-limit."""
    workers: int = 2
    """Processes that explore."""

    def __post_init__(self) -> None:
        if self.episodes < 2 or not 1 <= self.scenes <= self.episodes or self.tries < 2 or self.batches < 1:
            raise UserError(
                "--episodes and --tries must be at least 2, --batches at least 1, and --scenes lie in 1 .. --episodes"
            )


class Report:
    """Writes tables, and all of them into result.json."""

    def __init__(self, out: Path, **about: Any) -> None:
        self._out, self._all = out, about

    def add(self, name: str, rows: list[Row]) -> None:
        """Writes `<name>.csv` and `<name>.md`."""
        self._all[name] = rows
        write_csv(self._out / f"{name}.csv", rows)
        write_table(self._out / f"{name}.md", list(rows[0]), [list(row.values()) for row in rows])
        write_json(self._out / "result.json", self._all)


def diagnose(config: DiagnoseConfig) -> None:
    """Runs all parts, one after another."""
    training = FinetuneConfig(
        task=config.task,
        stage1=config.checkpoint,
        rollout=RolloutOptions(step_limit=config.step_limit),
        workers=config.workers,
    )
    checkpoint = choose_checkpoint(training.task, config.checkpoint)
    model = load_checkpoint(checkpoint, training.task)[0].to(gpu_or_cpu())
    if model.preset.history:
        raise UserError("an episode is branched without its history; give a checkpoint of a preset without one")
    training.check_preset(model.preset)
    policy = AimPolicy(model, model.preset.execute)
    scenes = range(seeds.VALIDATION, seeds.VALIDATION + config.episodes)
    episodes = watch(policy, training.task, scenes)
    rate = success_rate(sum(one.solved for one in episodes), len(episodes))
    print(f"{training.task}: success {describe(rate)}")
    report = Report(config.out, task=training.task, checkpoint=str(checkpoint), **rate)
    report.add("endings", table_of_endings(episodes))
    report.add("kinds", table_of_kinds(episodes))
    report.add("episodes", table_of_episodes(episodes))
    report.add("probe", table_of_probes(episodes, policy.execute, config.step_limit))
    if failed := [one for one in episodes if not one.solved][: config.scenes]:
        rows, each = table_of_branches(policy, training.task, failed, config.tries, config.step_limit)
        report.add("branches", rows)
        report.add("branches_each", each)
    rows, each = table_of_tries(training, model, episodes, config.scenes, config.tries)
    report.add("tries", rows)
    report.add("tries_each", each)
    report.add("gradients", table_of_gradients(training, model, config.batches))


def main() -> None:
    config = tyro.cli(DiagnoseConfig, description=__doc__)
    require_rendering()
    check_writable(config.out / "result.json")
    with one_thread():  # as in evaluation, so that the episodes are those that it counts
        diagnose(config)


if __name__ == "__main__":
    exit_cleanly(main)

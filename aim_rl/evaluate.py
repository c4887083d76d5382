"""Measures a checkpoint: `python -m aim_rl.evaluate --task T [--checkpoint DIR] --episodes 100`.

Deterministic given its seeds, which no training uses. `--compare A.json B.json` compares two results of `--json` on the
seeds that they share.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import tyro

import envs
from aim_rl.data.lerobot_export import check_new, lerobot_writer
from aim_rl.model.checkpoint import load_checkpoint, resolve_checkpoint
from aim_rl.model.presets import Preset
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from aim_rl.rollout.evaluation import run_episodes
from aim_rl.rollout.policy_recording import record_policy
from aim_rl.rollout.videos import record_episode
from aim_rl.runs.config import BackendOptions
from aim_rl.runs.folder import check_writable, gpu_or_cpu
from aim_rl.runs.progress import progress
from aim_rl.runs.statistics import SuccessRate, compare_pairs, describe, describe_pairs, success_rate
from envs.backend import TABLETOP
from envs.base import TaskEnv
from envs.constants import SETTINGS
from envs.errors import UserError, exit_cleanly
from envs.files import read_json, write_json

VIDEOS = 3  # episodes that --video shows
SCENES = ("task", "setting", "backend", "embodiment")
"""What decides, in a result of --json, which scene a seed is."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Measures the success rate of a checkpoint."""

    task: str = ""
    """RoboTwin's task name."""
    checkpoint: Path | None = None
    """Folder of a run or a checkpoint; the shipped one by default. few-shot: a shipped one of fewer demonstrations."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, if not the one that the checkpoint names."""
    episodes: int = 100
    seed: int = 0
    """Episode i is scene 1000000 + seed + i; training uses seeds below 1000000."""
    setting: str = "clean"
    """clean or randomized."""
    instructions: Literal["seen", "unseen"] = "seen"
    """RoboTwin's own evaluation takes unseen instructions in randomized scenes (stable_2.0: in all)."""
    json: Path | None = None
    """Writes the result here."""
    video: Path | None = None
    """Writes videos of the first three episodes into this folder; runs them again, in better light and more pixels."""
    record: Path | None = None
    """Writes what the policy did as a LeRobot dataset into this new folder; runs the episodes again, to render more."""
    workers: int = 2
    """Processes."""
    compare: tuple[Path, Path] | None = None
    """Two results of --json, which are compared instead: seeds gained and lost, and whether that may be chance."""
    simulator: BackendOptions = TABLETOP

    def __post_init__(self) -> None:
        if self.compare is not None:
            return
        if not self.task:
            raise UserError("give --task T; `python -m envs --list` lists the tasks")
        object.__setattr__(self, "task", envs.resolve_task(self.task))
        if self.setting not in SETTINGS:
            raise UserError(f"unknown setting {self.setting!r}; choose one of {', '.join(SETTINGS)}")
        if self.episodes < 1 or self.workers < 1 or self.seed < 0:
            raise UserError("--episodes and --workers must be at least 1, and --seed at least 0")
        if seeds.TEST + self.seed + self.episodes > 2**31:
            raise UserError(f"--seed plus --episodes must be at most {2**31 - seeds.TEST}: a scene's seed has 31 bits")


def choose_checkpoint(task: str, path: Path | None, flag: str = "--checkpoint") -> Path:
    """The given checkpoint, or the shipped one; `flag` gives one.

    Raises:
        UserError: none was given and none is shipped for the task.
    """
    chosen = resolve_checkpoint(task, path)
    if chosen is None:
        raise UserError(
            f"no checkpoint is shipped for {task}; give {flag} DIR, or train one with "
            f"`python -m aim_rl.finetune --task {task}`"
        )
    return chosen


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Runs the evaluation and prints the success rate; returns what is written to --json."""
    checkpoint = choose_checkpoint(config.task, config.checkpoint)
    model = load_checkpoint(checkpoint, config.task, config.wan)[0].to(gpu_or_cpu())
    for path in (config.json, config.video and config.video / f"{config.task}.mp4"):
        if path is not None:
            check_writable(path)
    if config.record is not None:
        check_new(config.record)
        check_writable(config.record / "meta")
    simulated = config.simulator.require(config.task, config.setting)
    policy, started = AimPolicy(model, model.preset.execute), time.monotonic()
    outcome = run_episodes(
        policy,
        task=config.task,
        setting=config.setting,
        first_seed=seeds.TEST + config.seed,
        episodes=config.episodes,
        workers=config.workers,
        title=f"evaluate {config.task}",
        simulator=config.simulator,
        instructions=config.instructions,
    )
    result = {
        "task": config.task,
        "setting": config.setting,
        "instructions": config.instructions,
        **simulated,
        "checkpoint": str(checkpoint),
        **success_rate(sum(outcome.values()), len(outcome)),
        "seeds": list(outcome),
        "succeeded": [seed for seed, success in outcome.items() if success],
        "seconds": time.monotonic() - started,
    }
    rate = describe(cast(SuccessRate, result))
    print(f"{config.task} ({config.setting}): success {rate}, {result['seconds']:.0f} s")  # a full disk may come next
    if config.json is not None:
        write_json(config.json, result)
    if config.video is not None:
        with contextlib.closing(make_env(config, model.preset)) as env:
            for seed in list(outcome)[:VIDEOS]:
                record_episode(policy, env, seed, config.video / f"{config.task}-{seed}.mp4")
    if config.record is not None:
        record(policy, config, config.record, list(outcome))
    return result


def make_env(config: EvaluateConfig, preset: Preset) -> TaskEnv:
    """The environment in which a policy of this preset is shown or recorded."""
    return config.simulator.make(
        config.task,
        config.setting,
        preset.head_size,
        preset.wrist_size,
        action_mode="ee",
        evaluation=True,
        instructions=config.instructions,
    )


def record(policy: AimPolicy, config: EvaluateConfig, folder: Path, scenes: list[int]) -> None:
    """Writes what the policy does in these scenes as a LeRobot dataset, with its value maps as one more video.

    Raises:
        UserError: the dataset cannot be written.
    """
    solved = 0
    with (
        lerobot_writer(folder) as writer,
        progress("record", len(scenes), "episodes") as bar,
        contextlib.closing(make_env(config, policy.model.preset)) as env,
    ):
        for scene in scenes:
            episode, maps = record_policy(policy, env, scene, config.setting)
            writer.add(episode, {"value_map": maps})
            solved += episode.success
            bar.update(writer.episodes, f"success {solved}/{writer.episodes}")


def read_outcomes(file: Path) -> tuple[dict[str, Any], dict[int, bool]]:
    """Of a result of `evaluate --json`: which scenes its seeds are, and seed -> success.

    Raises:
        UserError: the file is no such result, or does not say it.
    """
    if not file.exists():
        raise UserError(f"{file} does not exist; write it by `python -m aim_rl.evaluate --json {file}`")
    try:
        result = read_json(file)
        succeeded = set(result["succeeded"])
        outcomes = {int(seed): seed in succeeded for seed in result["seeds"]}
        return {name: result.get(name) for name in SCENES}, outcomes
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} does not say which seeds succeeded; measure again by `python -m aim_rl.evaluate --json {file}`"
        ) from error


def compare(files: tuple[Path, Path]) -> None:
    """Prints how the second result differs from the first one, pair by pair.

    Raises:
        UserError: a file cannot be compared, or the two share no seed.
    """
    (scenes, before), (others, after) = (read_outcomes(file) for file in files)
    for name in SCENES:
        if scenes[name] != others[name]:
            raise UserError(
                f"{files[0]} is of {name} {scenes[name]} and {files[1]} of {others[name]}, so their seeds are other "
                "scenes; measure both on the same"
            )
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise UserError(f"{files[0]} and {files[1]} share no seed; measure both with the same --seed")
    pairs = compare_pairs([before[seed] for seed in shared], [after[seed] for seed in shared])
    print(f"{files[0]} -> {files[1]}: {describe_pairs(pairs)}")


def main() -> None:
    config = tyro.cli(EvaluateConfig, description=__doc__)
    if config.compare is not None:
        compare(config.compare)
    else:
        evaluate(config)


if __name__ == "__main__":
    exit_cleanly(main)

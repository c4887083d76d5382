"""Measures a checkpoint: `python -m aim_rl.evaluate --task T [--checkpoint DIR] --episodes 100`.

Deterministic given its seeds, which no training has seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
import tyro

import envs
from aim_rl.model import AIM
from aim_rl.model.checkpoint import load_checkpoint, shipped_checkpoint
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from aim_rl.rollout.environments import RolloutConfig, Scenes
from aim_rl.rollout.videos import record_episode
from aim_rl.runs.folder import check_writable, gpu_or_cpu, one_thread
from aim_rl.runs.progress import progress
from aim_rl.runs.statistics import SuccessRate, describe, success_rate
from envs.backend import TABLETOP, Backend, BackendOptions
from envs.errors import UserError, exit_cleanly
from envs.files import write_json
from envs.tabletop.env import SETTINGS


@dataclass
class EvaluateConfig:
    """Measures the success rate of a checkpoint."""

    task: str
    """RoboTwin's task name."""
    checkpoint: Path | None = None
    """Folder of a run or a checkpoint; the shipped one by default."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, if not the one that the checkpoint names."""
    episodes: int = 100
    seed: int = 0
    """Episode i is scene 1000000 + seed + i; training uses seeds below 1000000."""
    setting: str = "clean"
    """clean or randomized."""
    instructions: Literal["seen", "unseen"] = "seen"
    """Wordings of the task. RoboTwin's own evaluation takes unseen ones in randomized scenes (stable_2.0: in all)."""
    json: Path | None = None
    """Writes the result here."""
    video: Path | None = None
    """Writes videos of the first three episodes into this folder."""
    workers: int = 2
    """Processes."""
    simulator: BackendOptions = TABLETOP


@one_thread()
def run_episodes(
    model: AIM,
    task: str,
    setting: str,
    first_seed: int,
    episodes: int,
    workers: int = 2,
    title: str = "evaluate",
    simulator: Backend = TABLETOP,
    instructions: str = "seen",
    policy: AimPolicy | None = None,
) -> dict[int, bool]:
    """Success of each seed first_seed .. first_seed + episodes - 1, with the deterministic sampler.

    Args:
        model: the policy's model.
        task, setting: what is rolled out, to RoboTwin's step limit.
        first_seed: of `episodes` consecutive seeds.
        workers: processes.
        title: of the progress line.
        simulator: what runs the scenes.
        instructions: "seen" or "unseen" wordings.
        policy: another one than the model's deterministic sampler.
    """
    workers = min(workers, episodes)
    scenes = simulator.default_envs_per_worker(min(8, -(-episodes // workers)))
    limits = (model.preset.execute, None, workers, scenes, 1)
    told = (model.text.tokenize, simulator, True, instructions, first_seed + episodes - 1)
    config = RolloutConfig(task, setting, model.preset, *limits, first_seed, *told)
    policy = AimPolicy(model, model.preset.execute) if policy is None else policy
    pool = Scenes(config)
    try:
        return _run(pool, policy, range(first_seed, first_seed + episodes), title)
    finally:
        pool.close()


@torch.no_grad()
def _run(scenes: Scenes, policy: AimPolicy, wanted: range, title: str) -> dict[int, bool]:
    outcome: dict[int, bool] = {}
    observations = scenes.reset()
    with progress(title, len(wanted), "episodes") as bar:
        while len(outcome) < len(wanted):
            observations, ended = scenes.step(policy(observations)["action"])
            outcome = {seed: solved for seed, solved in ended.items() if seed in wanted} | outcome  # the first stands
            bar.update(len(outcome), f"success {sum(outcome.values())}/{len(outcome)}")
    return dict(sorted(outcome.items()))


def choose_checkpoint(task: str, path: Path | None, flag: str = "--checkpoint") -> Path:
    """The given checkpoint, or the shipped one; `flag` gives one.

    Raises:
        UserError: none was given and none is shipped for the task.
    """
    chosen = path or shipped_checkpoint(task)
    if chosen is None:
        raise UserError(
            f"no checkpoint is shipped for {task}; give {flag} DIR, or train one with "
            f"`python -m aim_rl.finetune --task {task}`"
        )
    return chosen


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Runs the evaluation and prints the success rate; returns what is written to --json."""
    task = envs.resolve_task(config.task)
    if config.setting not in SETTINGS:
        raise UserError(f"unknown setting {config.setting!r}; choose one of {', '.join(SETTINGS)}")
    if config.episodes < 1 or config.workers < 1 or config.seed < 0:
        raise UserError("--episodes and --workers must be at least 1, and --seed at least 0")
    if seeds.TEST + config.seed + config.episodes > 2**31:
        raise UserError(f"--seed plus --episodes must be at most {2**31 - seeds.TEST}: a scene's seed has 31 bits")
    checkpoint = choose_checkpoint(task, config.checkpoint)
    model = load_checkpoint(checkpoint, task, config.wan)[0].to(gpu_or_cpu())
    for path in (config.json, config.video and config.video / f"{task}.mp4"):
        if path is not None:
            check_writable(path)
    simulated = config.simulator.require(task, config.setting)
    started, first = time.monotonic(), seeds.TEST + config.seed
    rolled = (first, config.episodes, config.workers, f"evaluate {task}", config.simulator, config.instructions)
    outcome = run_episodes(model, task, config.setting, *rolled)
    result = {
        "task": task,
        "setting": config.setting,
        "instructions": config.instructions,
        **simulated,
        "checkpoint": str(checkpoint),
        **success_rate(sum(outcome.values()), len(outcome)),
        "seeds": list(outcome),
        "seconds": time.monotonic() - started,
    }
    rate = describe(cast(SuccessRate, result))
    print(f"{task} ({config.setting}): success {rate}, {result['seconds']:.0f} s")  # before a disk may refuse
    if config.json is not None:
        write_json(config.json, result)
    if config.video is not None:
        for seed in list(outcome)[:3]:
            path, how = config.video / f"{task}-{seed}.mp4", (config.simulator, config.instructions)
            record_episode(model, task, config.setting, seed, path, *how)
    return result


def main() -> None:
    config = tyro.cli(EvaluateConfig, description=__doc__)
    evaluate(config)


if __name__ == "__main__":
    exit_cleanly(main)

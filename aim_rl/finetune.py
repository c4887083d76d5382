"""Stage II, reinforcement learning: `python -m aim_rl.finetune --task T [--stage1 DIR] [--out RUN]`.

Freezes the world and value streams and fine-tunes the action head on lambda_dense * map response at the commanded TCP
position + lambda_sparse * success (docs/method.md). The default is PPO with GAE and a critic on frozen features;
`--rl.advantage group --rollout.group-size 8 --rollout.num-groups 8` is GRPO. Ends with the success of Stage I and
Stage II on the same held-out seeds.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

import envs
from aim_rl import collect
from aim_rl.model import AIM, Preset
from aim_rl.model.checkpoint import load_checkpoint, read_metadata, shipped_checkpoint
from aim_rl.rl.awr import Awr, AwrConfig
from aim_rl.rl.exploration import ExplorationConfig
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import Ppo, PpoConfig
from aim_rl.rl.trainer import COUNTED, Rollouts, Schedule, Trainer
from aim_rl.rl.validation import Validation
from aim_rl.rollout import seeds
from aim_rl.rollout.environments import RolloutConfig
from aim_rl.rollout.evaluation import run_episodes
from aim_rl.rollout.training import TrainingRollouts
from aim_rl.runs.config import BackendOptions, parse
from aim_rl.runs.folder import gpu_or_cpu, new_run, use_all_cores
from aim_rl.runs.history import record_resume
from aim_rl.runs.interrupt import says_how_to_resume
from aim_rl.runs.processes import processes
from aim_rl.runs.statistics import SuccessRate, describe, success_rate
from aim_rl.supervised.config import PretrainConfig
from aim_rl.supervised.trainer import pretrain
from envs.backend import TABLETOP
from envs.constants import SETTINGS
from envs.errors import UserError, exit_cleanly
from envs.files import read_json, write_json
from envs.tabletop.task import Task, task_class
from rewards import MapSource, RewardConfig, Shaping
from rewards.torchrl_transform import ValueMapRewardTransform


@dataclass(frozen=True, kw_only=True)
class RolloutOptions:
    """What an iteration rolls out."""

    group_size: int = 2
    """Rollouts per seed."""
    num_groups: int = 32
    """Groups per iteration."""
    step_limit: int = 144
    """Control steps per training episode; evaluation has RoboTwin's limit."""
    envs_per_worker: int | None = None
    """Environments per worker process; 16 by default, 1 with RoboTwin."""

    def __post_init__(self) -> None:
        others = self.num_groups, self.step_limit, 1 if self.envs_per_worker is None else self.envs_per_worker
        if self.group_size < 2 or min(others) < 1:
            raise UserError("--rollout.group-size must be at least 2, and every other count of --rollout at least 1")


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """What is rewarded; the discount is --rl.gamma."""

    shaping: Shaping = "settled"
    """The dense reward (rewards/shaping.py); additive is the paper's."""
    maps: MapSource = "refreshed"
    """Maps that the dense reward reads (rewards/maps.py); uniform, other_decision and other_scene are controls."""
    anneal: bool = False
    """Lets the dense reward's weight fall linearly to 0 over the iterations."""
    lambda_dense: float = 0.2
    """Weight of the dense reward."""
    lambda_sparse: float = 1.0
    """Weight of success."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Stage II: fine-tunes the action head with reinforcement learning."""

    task: str
    """RoboTwin's task name; stack_blocks is short for stack_blocks_two."""
    stage1: Path | None = None
    """Stage I run or checkpoint; the shipped one by default."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, if not the one that --stage1 names."""
    out: Path | None = None
    """Folder of the run; runs/<task>-<time> by default."""
    resume: Path | None = None
    """Run to continue, with its own configuration."""
    setting: str = "clean"
    """clean or randomized."""
    iterations: int = 80
    save_every: int = 10
    """Iterations between two saved states."""
    validate_every: int = 20
    """Iterations between two measurements on the validation scenes, by which <run>/best and the result are chosen."""
    validation_episodes: int = 200
    """Validation scenes, to the step limit of training; 0: no validation, the result is the last weights' average."""
    train_world: bool = False
    """Ablation: trains the world streams too, which changes the maps that the reward reads."""
    evaluation_episodes: int = 100
    measure_stage1: bool = True
    """Measures Stage I too; several runs from one Stage I need it once."""
    seed: int = 0
    workers: int = 2
    """Processes."""
    rollout: RolloutOptions = field(default_factory=RolloutOptions)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    reward: RewardOptions = field(default_factory=RewardOptions)
    algorithm: Literal["ppo", "awr"] = "ppo"
    """ppo: aim_rl/rl/ppo.py, with the settings of --rl. awr: replay, aim_rl/rl/awr.py, with those of --awr."""
    rl: PpoConfig = field(default_factory=PpoConfig)
    awr: AwrConfig = field(default_factory=AwrConfig)
    simulator: BackendOptions = TABLETOP

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", envs.resolve_task(self.task))
        if self.setting not in SETTINGS:
            raise UserError(f"unknown setting {self.setting!r}; choose one of {', '.join(SETTINGS)}")
        counts = self.iterations, self.save_every, self.validate_every, self.evaluation_episodes, self.workers
        if min(counts) < 1 or self.validation_episodes < 0:
            raise UserError(
                "--iterations, --save-every, --validate-every, --evaluation-episodes and --workers must be at least 1, "
                "--validation-episodes at least 0"
            )
        if not 0 <= self.seed < seeds.TRAININGS:
            raise UserError(f"--seed must be at least 0 and below {seeds.TRAININGS}")
        room = seeds.VALIDATION - seeds.reinforcement(self.seed)
        if self.iterations * self.rollout.num_groups > room:
            raise UserError(
                f"--iterations times --rollout.num-groups must be at most {room}: later seeds are for evaluation"
            )
        if self.rl.dense_weight is not None and self.reward.anneal:
            raise UserError("--rl.dense-weight goes without --reward.anneal")
        if self.reward.maps == "other_scene" and self.rollout.num_groups < 2:
            raise UserError("--reward.maps other_scene needs two seeds per iteration: --rollout.num-groups 2 or more")
        measured = self.simulator.backend == "tabletop" and task_class(self.task).progress is not Task.progress
        if self.reward.shaping == "privileged" and not measured:
            raise UserError(
                f"{self.task} measures no progress (`Task.progress` in its file); choose another --reward.shaping"
            )
        if self.algorithm == "awr" and self.train_world:
            raise UserError("--train-world goes with --algorithm ppo")
        if self.wan is not None and self.stage1 is None:
            raise UserError("--wan goes with --stage1, a checkpoint of the preset wan2.2-5b")

    def check_preset(self, preset: Preset) -> None:
        """Raises UserError if a Stage I model of this preset cannot be trained by these settings."""
        if self.train_world and preset.history:
            raise UserError(
                "--train-world is for presets without history; leave it out, or train Stage I with another one"
            )
        if (self.algorithm == "awr" or self.rl.advantage == "gae") and not preset.keypoints:
            raise UserError(
                "the critic sees the world by keypoints, and this Stage I model's preset has none; "
                "give --algorithm ppo --rl.advantage group --rollout.group-size 8 --rollout.num-groups 8"
            )

    def rollout_config(self, model: AIM) -> RolloutConfig:
        """What the simulator processes run."""
        return RolloutConfig(
            task=self.task,
            setting=self.setting,
            preset=model.preset,
            execute=model.preset.execute,
            step_limit=self.rollout.step_limit,
            workers=self.workers,
            envs_per_worker=self.rollout.envs_per_worker or self.simulator.default_envs_per_worker(16),
            group_size=self.rollout.group_size,
            first_seed=seeds.reinforcement(self.seed),
            tokenize=model.text.tokenize,
            simulator=self.simulator,
        )

    def reward_config(self) -> RewardConfig:
        """The composed reward."""
        reward = self.reward
        gamma = self.awr.gamma if self.algorithm == "awr" else self.rl.gamma
        return RewardConfig(
            reward.lambda_dense, reward.lambda_sparse, reward.shaping, gamma, reward.maps, reward.anneal
        )


MOVED = {
    "group": "rollout.group_size",
    "groups": "rollout.num_groups",
    "scenes": "rollout.envs_per_worker",
    "step_limit": "rollout.step_limit",
    "sampler": "exploration.sampler",
    "noise_level": "exploration.noise_level",
    **{field.name: f"reward.{field.name}" for field in fields(RewardOptions)},
    **{f"grpo.{field.name}": f"rl.{field.name}" for field in fields(PpoConfig)},
}
"""Fields of version 0.1 -> of this version. Old flags go with the next release; old runs stay readable."""
FLAGS = {f"--{old}".replace("_", "-"): f"--{new}".replace("_", "-") for old, new in MOVED.items()}
FLAGS["--no-anneal"] = "--reward.no-anneal"


def parse_flags(description: str | None = None, arguments: list[str] | None = None) -> FinetuneConfig:
    """The configuration of a command line; see `aim_rl.runs.config.parse`."""
    # Averages and learning rates depend on the iterations, batches on the group size, the result on the validation.
    fixed = ("iterations", "rollout.group_size", "validation_episodes")
    return parse(FinetuneConfig, description, arguments, fixed, renamed_flags=FLAGS, renamed_keys=MOVED)


def stage1_checkpoint(config: FinetuneConfig) -> Path | None:
    """The Stage I checkpoint, given or shipped; None: it has to be trained first.

    Raises:
        UserError: it is no checkpoint or one of another task. Its weights are not read.
    """
    path = config.stage1 or shipped_checkpoint(config.task)
    if path is not None:
        read_metadata(path, config.task)
    return path


def train_stage1(config: FinetuneConfig, run: Path) -> Path:
    """Records demonstrations and trains Stage I in the run; returns its folder."""
    print(f"No Stage I checkpoint is shipped for {config.task}: recording demonstrations and training one first.")
    data, stage1 = run / "demonstrations", run / "stage1"
    collect.collect(
        collect.CollectConfig(
            task=config.task, out=data, workers=config.workers, setting=config.setting, simulator=config.simulator
        )
    )
    resume = stage1 if (stage1 / "config.json").exists() else None
    with processes() as here:
        pretrain(PretrainConfig(task=config.task, data=data, out=stage1, resume=resume), here)
    return stage1


def load_stage1(config: FinetuneConfig, path: Path) -> AIM:
    """The Stage I model, on the GPU if there is one.

    Raises:
        UserError: it cannot be read, or not be trained by these settings.
    """
    model = load_checkpoint(path, config.task, config.wan)[0]
    config.check_preset(model.preset)
    return model.to(gpu_or_cpu())


def simulate(config: FinetuneConfig, policy: AimPolicy, observed: tuple[str, ...]) -> TrainingRollouts:
    """The worker processes."""
    return TrainingRollouts(config.rollout_config(policy.model), policy, config.seed, observed)


def validate(config: FinetuneConfig, model: AIM) -> dict[int, bool]:
    """Success without exploration on each validation scene, within the step limit of training."""
    return run_episodes(
        AimPolicy(model, model.preset.execute),
        task=config.task,
        setting=config.setting,
        first_seed=seeds.VALIDATION,
        episodes=config.validation_episodes,
        workers=config.workers,
        title="",
        simulator=config.simulator,
        step_limit=config.rollout.step_limit,
    )


def reinforce(
    config: FinetuneConfig,
    model: AIM,
    run: Path,
    rollouts: Callable[[FinetuneConfig, AimPolicy, tuple[str, ...]], Rollouts] = simulate,
    measured: Callable[[FinetuneConfig, AIM], dict[int, bool]] = validate,
) -> dict[str, Any]:
    """Puts the trainer together and trains `model` in place; returns the final checkpoint's metadata.

    Args:
        config: settings.
        model: Stage I.
        run: folder of the run.
        rollouts: makes the source of rollouts.
        measured: success of the model on the validation scenes.
    """
    torch.manual_seed(config.seed)
    policy = AimPolicy(
        model, model.preset.execute, config.exploration.sampler, config.exploration.noise_level, config.train_world
    )
    learner = Awr(policy, config.awr) if config.algorithm == "awr" else Ppo(policy, config.rl)
    reward = ValueMapRewardTransform(config.reward_config(), model.preset.head_size)
    batch = config.rollout.group_size * config.rollout.num_groups
    schedule = Schedule(iterations=config.iterations, batch=batch, save_every=config.save_every)
    metadata = {"task": config.task, "stage": 2, "setting": config.setting}
    validation = None
    if config.validation_episodes:
        validation = Validation(run, policy, functools.partial(measured, config, model), config.validate_every)
    source = rollouts(config, policy, learner.observed)
    try:
        resume = config.resume is not None
        return Trainer(schedule, policy, source, reward, learner, validation, run, metadata, resume).train()
    finally:
        source.shutdown()


def trained_before(config: FinetuneConfig, model: AIM, run: Path) -> dict[str, Any] | None:
    """What `reinforce` did and returned in a run that was stopped after it; None in any other run."""
    if config.resume is None or (run / "trainer").exists() or not (run / "checkpoint").exists():
        return None
    metadata = read_metadata(run / "checkpoint", config.task)
    if "minutes" not in metadata:  # only the final checkpoint has it
        return None
    model.load_state_dict(load_checkpoint(run / "checkpoint", config.task, config.wan)[0].state_dict())
    kept = ("task", "stage", "setting", *COUNTED, "updates", "skipped_updates", "validation", "minutes")
    return {name: metadata[name] for name in kept if name in metadata}


def measure(config: FinetuneConfig, model: AIM, stage: str) -> SuccessRate:
    """Success on the held-out seeds, the same for both stages."""
    outcome = run_episodes(
        AimPolicy(model, model.preset.execute),
        task=config.task,
        setting=config.setting,
        first_seed=seeds.TEST,
        episodes=config.evaluation_episodes,
        workers=config.workers,
        title=f"evaluate {stage}",
        simulator=config.simulator,
    )
    return success_rate(sum(outcome.values()), len(outcome))


def measure_stage1(config: FinetuneConfig, model: AIM, run: Path) -> SuccessRate | None:
    """As `measure`, once per run; None if it is not asked for."""
    file = run / "stage1.json"
    if not config.measure_stage1:
        return None
    if config.resume is None or not file.exists():
        write_json(file, {**measure(config, model, "Stage I")})
    return read_json(file)


def finetune(config: FinetuneConfig, model: AIM, run: Path) -> dict[str, Any]:
    """Stage II between two measurements; returns what `result.json` says."""
    stage1 = measure_stage1(config, model, run)
    trained = trained_before(config, model, run) or reinforce(config, model, run)
    return {"stage1": stage1, "stage2": measure(config, model, "Stage II"), **trained}


def report(result: dict[str, Any]) -> None:
    """Prints the final table, and what to try if nothing was learned."""
    table = Table(title=f"{result['task']} ({result['setting']}), held-out seeds, Wilson 95 % intervals")
    for column in ("", "success", "environment steps", "minutes"):
        table.add_column(column)
    if result["stage1"] is not None:
        table.add_row("Stage I", describe(result["stage1"]))
    table.add_row("Stage II", describe(result["stage2"]), str(result["environment_steps"]), f"{result['minutes']:.1f}")
    if result.get("updates") == 0:
        table.caption = (
            "No update was made, so Stage II is Stage I. Groups are learned from if some of their rollouts succeed and "
            "others fail; with GAE the first iteration trains the critic alone. Try more --iterations, a larger "
            "--rollout.group-size or --rollout.num-groups, a longer --rollout.step-limit, or a better --stage1."
        )
    Console().print(table)


def main() -> None:
    config = parse_flags(__doc__)
    if config.resume is not None and (config.resume / "result.json").exists():
        run, file = config.resume, config.resume / "result.json"
        print(f"{run} is finished; more iterations are another run")
        try:
            report(read_json(file))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error!r}); delete it to measure again") from error
    else:
        run = start(config)
    shutil.rmtree(run / "trainer", ignore_errors=True)  # hundreds of megabytes of unfinished rollouts
    print(f"Run: {run} (result.json, checkpoint); watch it with `tensorboard --logdir {run}`")


def start(config: FinetuneConfig) -> Path:
    """Runs the command; returns the folder of the run. A Stage I that is not usable is refused before it is made."""
    path = stage1_checkpoint(config)
    use_all_cores()
    simulated = config.simulator.require(config.task, config.setting)
    model = None if path is None else load_stage1(config, path)
    run = config.resume or new_run(config.task, config.out, config)
    with says_how_to_resume(run):
        model = model or load_stage1(config, train_stage1(config, run))
        if config.resume is not None:
            record_resume(run, config, MOVED)
        result = simulated | finetune(config, model, run)
    report(result)
    write_json(run / "result.json", result)
    return run


if __name__ == "__main__":
    exit_cleanly(main)

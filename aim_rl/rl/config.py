"""Stage II's configuration: what `aim_rl.finetune` can be told, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import envs
from aim_rl.model import AIM, Preset
from aim_rl.rl.awr import AwrConfig
from aim_rl.rl.exploration import ExplorationConfig
from aim_rl.rl.ppo import PpoConfig
from aim_rl.rollout import seeds
from aim_rl.rollout.environments import RolloutConfig
from aim_rl.runs.config import BackendOptions, parse
from envs.backend import TABLETOP
from envs.constants import SETTINGS
from envs.errors import UserError
from envs.tabletop.task import Task, task_class
from rewards import MapSource, RewardConfig, Shaping


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
    """Stage I run or checkpoint; the shipped one by default. few-shot: a shipped one of fewer demonstrations."""
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
    keep_rollouts: int = 0
    """Training rollouts to write to <run>/rollouts in the end, for `pretrain --data`: the last that succeeded, one per
    scene. They are simulated a second time, to render every control step."""
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
        if min(counts) < 1 or min(self.validation_episodes, self.keep_rollouts) < 0:
            raise UserError(
                "--iterations, --save-every, --validate-every, --evaluation-episodes and --workers must be at least 1, "
                "--validation-episodes and --keep-rollouts at least 0"
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
    # Averages and learning rates depend on the iterations, batches on the group size, the result on the validation,
    # what the rollouts of a saved state hold on keep_rollouts.
    fixed = ("iterations", "rollout.group_size", "validation_episodes", "keep_rollouts")
    return parse(FinetuneConfig, description, arguments, fixed, renamed_flags=FLAGS, renamed_keys=MOVED)

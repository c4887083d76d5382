"""The settings of Stage I."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import envs
from aim_rl.data.lerobot import DEFAULT_OPTIONS, LeRobotFlags
from aim_rl.model.presets import Preset, preset_named
from aim_rl.rollout import seeds
from aim_rl.runs.config import check_flags
from envs.errors import UserError

ALL_TASKS = "all"


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Stage I: trains the world-action model on demonstrations."""

    task: str
    """RoboTwin's task name, or `all`: every task found in --data."""
    data: Path
    """Folder of episodes recorded by `python -m aim_rl.collect` or RoboTwin, a LeRobot dataset (v3), or a folder of
    such folders."""
    lerobot: LeRobotFlags = DEFAULT_OPTIONS
    out: Path | None = None
    """Folder of the run; runs/<task>-<time> by default."""
    resume: Path | None = None
    """Run to resume, with its own settings."""
    init: Path | None = None
    """Run or checkpoint whose weights and statistics it starts from; random weights by default."""
    steps: int = 3000
    """Optimizer steps."""
    batch_size: int = 64
    """Chunks per optimizer step."""
    micro_batch: int | None = None
    """Chunks that a process computes at once; by default its whole share of the batch."""
    workers: int = 1
    """Processes that prepare batches while the model computes, per training process; 0: it prepares them itself."""
    bf16: bool = False
    """Matrix products in bfloat16 (autocast); weights, averages and optimizer stay in float32."""
    recompute: bool = False
    """Gradient checkpointing: recomputes blocks in the backward pass instead of keeping their activations."""
    compile: bool = False
    """torch.compile of the blocks, for GPUs; needs a C++ compiler."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    ema: float = 0.998
    """Decay of the moving average of the weights; the average is what is saved."""
    preset: str = "small"
    """tiny, small or wan2.2-5b (aim_rl/model/presets.py)."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, from which the preset wan2.2-5b starts."""
    visibility: Literal["intent_causal", "full", "no_map"] = "intent_causal"
    """Who may read whom (aim_rl/model/visibility.py); full and no_map are ablations."""
    save_every: int = 100
    """Steps between the states that --resume reads: what a killed run may lose."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values and resolves the task's alias. Raises UserError."""
        check_flags(self)
        if self.task != ALL_TASKS:
            object.__setattr__(self, "task", envs.resolve_task(self.task))
        counts = self.steps, self.batch_size, self.save_every, 1 if self.micro_batch is None else self.micro_batch
        if min(counts) < 1:
            raise UserError("--steps, --batch-size, --micro-batch and --save-every must be at least 1")
        if self.workers < 0:
            raise UserError("--workers must be at least 0")
        if self.learning_rate <= 0 or self.weight_decay < 0 or not 0 <= self.ema < 1:
            raise UserError("--learning-rate must be above 0, --weight-decay at least 0, and --ema from 0 to below 1")
        if not 0 <= self.seed < seeds.TRAININGS:
            raise UserError(f"--seed must be at least 0 and below {seeds.TRAININGS}")
        if self.wan is not None and self.sizes.text == "words":
            raise UserError(f"--wan is for the preset wan2.2-5b; {self.preset} starts from random weights")

    @property
    def sizes(self) -> Preset:
        """The preset, with this configuration's visibility."""
        return dataclasses.replace(preset_named(self.preset), visibility=self.visibility)

    def micro_size(self, processes: int) -> int:
        """Chunks of a micro-batch on so many processes."""
        return self.micro_batch or self.batch_size // processes

    def check_processes(self, count: int) -> None:
        """Raises UserError unless the batch can be divided among so many processes."""
        unit = (self.micro_batch or 1) * count
        if self.batch_size % unit:
            raise UserError(
                f"--batch-size {self.batch_size} must be a multiple of {unit}, --micro-batch times the number of "
                "processes"
            )

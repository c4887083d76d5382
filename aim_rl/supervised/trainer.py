"""Stage I's training loop: minimises L = L_rgb + lambda_m L_map + lambda_a L_act (docs/method.md)."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aim_rl.data.dataset import DemonstrationSet
from aim_rl.model import AIM, instruction_tokenizer, load_frozen, load_wan, proprio
from aim_rl.model.checkpoint import load_checkpoint, save_checkpoint
from aim_rl.model.compiling import check_compiler, compile_blocks
from aim_rl.model.pretrained import read_metadata, read_preset
from aim_rl.runs.dashboard import STAGE1, describe_run
from aim_rl.runs.folder import command_of, new_run, tensorboard
from aim_rl.runs.history import record_resume
from aim_rl.runs.interrupt import Interrupt, ctrl_c_finishes_the_step, says_how_to_resume
from aim_rl.runs.processes import ALONE, Processes, SharedState, Whole, place, release
from aim_rl.runs.progress import progress
from aim_rl.runs.state import Counters, FiniteUpdates
from aim_rl.supervised.batches import micro_batches
from aim_rl.supervised.config import ALL_TASKS, PretrainConfig
from aim_rl.supervised.validation import validate
from envs.errors import UserError

LOG_EVERY = 20  # steps
VALIDATE_EVERY = 500  # steps; each time a checkpoint is written
UNREAD = 1e6  # std that makes a normalised number 0
PROPRIO_FLOOR = 0.02  # smallest std of a proprioception number (m, rad or gripper command)


def pretrain(config: PretrainConfig, processes: Processes = ALONE) -> Path:
    """Loads the demonstrations and runs Stage I; returns the folder of the run."""
    config.check_processes(processes.count)
    check_init(config)
    if config.compile:
        check_compiler()
    task = None if config.task == ALL_TASKS else config.task
    tokenize = instruction_tokenizer(config.sizes, config.wan)
    data = DemonstrationSet(config.data, config.sizes, task, tokenize, config.lerobot)
    print(data.describe())
    for doubt, episodes in data.doubts.items():
        print(f"warning: in {episodes} of {data.episodes} episodes, {doubt}", file=sys.stderr)
    run = config.resume or config.out
    if config.resume is None and processes.is_first:
        run = new_run(task or "all_tasks", config.out, config)
    run = run or Path()
    with says_how_to_resume(run):
        trainer = Trainer(config, data, run, processes)
        if config.resume is not None and processes.is_first:
            record_resume(run, config)
        if trainer.writer is not None:
            describe_run(trainer.writer, STAGE1, config, trainer.first)
        trainer.train()
    return run


class Trainer:
    """Trains a model and writes its moving average to `<run>/checkpoint`, at the lowest held-out loss to `<run>/best`.

    Args:
        config: the settings; with `resume`, the run's last state is restored.
        data: the demonstrations.
        run: folder of the run.
        processes: this process among those that train together.
    """

    def __init__(self, config: PretrainConfig, data: DemonstrationSet, run: Path, processes: Processes = ALONE) -> None:
        self.config, self.data, self.run, self.processes = config, data, run, processes
        self.model = new_model(config, processes)
        if config.init is None:
            fit_normalisers(self.model, data)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=False)
        self.average.n_averaged = self.average.n_averaged.to(processes.device)
        if config.compile:
            compile_blocks(self.model)  # not the average, which only validates
        for part in (self.model, self.averaged):
            place(part, processes)
        self.model.recompute = config.recompute
        rate, decay = config.learning_rate, config.weight_decay
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), rate, betas=(0.9, 0.95), weight_decay=decay, fused=True
        )
        self.counters = Counters(step=0, seconds=0.0, best=math.inf)
        self.updates = FiniteUpdates(self.counters)
        optimizer = Whole(self.model, self.optimizer)
        parts = {"model": Whole(self.model), "average": Whole(self.average), "optimizer": optimizer}
        self.state = SharedState(run, parts, self.counters, processes)
        if config.resume is not None:
            self.state.restore()
        self.first = int(self.counters["step"])
        self.writer = tensorboard(run, self.first) if processes.is_first else None

    @property
    def averaged(self) -> AIM:
        """The model with the moving average of the weights."""
        return cast(AIM, self.average.module)

    def train(self) -> AIM:
        """Runs the remaining steps; returns the averaged model.

        Raises:
            UserError: no step is left and the last checkpoint is of another length, or updates stay not finite.
            KeyboardInterrupt: Ctrl-C was pressed; the state after the last step is saved.
        """
        first, steps = self.first, self.config.steps
        if first >= steps and not self._has_checkpoint_of(first):
            raise UserError(f"{self.run} has made {first} steps and has no checkpoint of them; give more by --steps")
        batches = micro_batches(self.data, self.config, self.processes, first)
        started = time.monotonic() - self.counters["seconds"]
        with (
            progress(f"Stage I {self.config.task}", steps, "steps", first) as bar,
            ctrl_c_finishes_the_step(interrupt := Interrupt("this step")),
        ):
            interrupt.saved = f"step {first}"
            for step in range(first, steps):
                interrupt.begin("this step")
                losses = self.update(step, batches)
                done, is_last = step + 1, step + 1 == steps
                if step % LOG_EVERY == 0 or is_last:
                    self.log(losses, step)
                    bar.update(
                        done, " ".join(f"{name} {losses[name]:.3f}" for name in ("loss", "rgb", "map", "action"))
                    )
                self.counters.update(step=done, seconds=time.monotonic() - started)
                if done % VALIDATE_EVERY == 0 or is_last:
                    interrupt.begin("the validation")
                    self.validate_and_save(done)
                stopped = self.processes.any(interrupt.pressed)
                if done % self.config.save_every == 0 or is_last or stopped:
                    self.save_state(done)
                    interrupt.saved = f"step {done}"
                if stopped and not is_last:
                    raise KeyboardInterrupt(f"stopped after {done} steps; go on with --resume {self.run}")
        if self.writer is not None:
            self.writer.close()
        return self.averaged

    def update(self, step: int, batches: Iterator[dict[str, Tensor]]) -> dict[str, float]:
        """One optimizer step, skipped if its gradient is not finite; returns losses and gradient norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * learning_rate_factor(step, self.config.steps)
        self.optimizer.zero_grad()
        losses = accumulate_gradients(self.model, batches, self.config, self.processes)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self.updates.allow(norm, torch.tensor(losses["loss"])):
            self.optimizer.step()
            self.average.update_parameters(self.model)
        self.updates.check(self.run, "--learning-rate")
        return losses | {"gradient_norm": norm.item(), "skipped_updates": self.counters["skipped_updates"]}

    def validate_and_save(self, done: int) -> None:
        """Validates the averaged model and writes it as `checkpoint`, and as `best` if it is."""
        metrics, picture = validate(self.averaged, self.data, self.config, self.processes)
        release(self.averaged)
        self.log(metrics, done - 1, "stage1/held_out")
        if self.writer is not None:
            self.writer.add_image("stage1/predicted_and_true", picture, done - 1, dataformats="HWC")
        metadata = stage1_metadata(self.config, self.data) | {"command": command_of(self.run)}
        metadata |= {"held_out": metrics, "minutes": self.counters["seconds"] / 60}
        metadata |= {"skipped_updates": int(self.counters["skipped_updates"])}
        write = self.processes.is_first
        save_checkpoint(self.run / "checkpoint", self.averaged, metadata, write)
        if metrics["loss"] < self.counters["best"]:
            self.counters["best"] = metrics["loss"]
            best = {"steps": done, "best_by": "the lowest held-out loss"}
            save_checkpoint(self.run / "best", self.averaged, metadata | best, write)

    def save_state(self, done: int) -> None:
        """Writes what `--resume` needs."""
        if self.writer is not None:
            self.writer.flush()  # before the state: a killed run's curve must reach as far as its state
        self.state.save(done)

    def log(self, values: Mapping[str, float], step: int, prefix: str = "stage1") -> None:
        """Writes scalars to TensorBoard, in the first process."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{prefix}/{name}", value, step)

    def _has_checkpoint_of(self, steps: int) -> bool:
        path = self.run / "checkpoint"
        return path.exists() and read_metadata(path).get("steps") == steps


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over 100 steps (at most a tenth of the run), then a cosine down to 2 %."""
    warmup = min(100, max(1, steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def new_model(config: PretrainConfig, processes: Processes) -> AIM:
    """The initial model: with weights on the first process, only with shapes on the others."""
    torch.manual_seed(config.seed)
    if processes.is_first:
        if config.init is not None and config.resume is None:
            return load_checkpoint(config.init, wan=config.wan)[0].train()
        return AIM(config.sizes) if config.wan is None else load_wan(config.wan, config.sizes)
    with torch.device("meta"):
        model = AIM(config.sizes)
    if config.wan is not None:
        load_frozen(model, config.wan)
    return model


def check_init(config: PretrainConfig) -> None:
    """Raises UserError: the checkpoint to start from cannot be read, or is of another preset."""
    if config.init is None or config.resume is not None:
        return
    preset = read_preset(config.init)
    if preset != config.sizes:
        raise UserError(
            f"{config.init} is of the preset {preset.name} ({preset.visibility}); give --preset {preset.name} "
            f"--visibility {preset.visibility}, or another --init"
        )


def fit_normalisers(model: AIM, data: DemonstrationSet, frames: int = 1024) -> None:
    """Sets the waypoint statistics of the data and the proprioception statistics of a sample of `frames` frames.

    Numbers that never vary in the data are normalised to 0 for good: RoboTwin's files hold no measured joints, so the
    model never learns to use a tracking error.
    """
    model.waypoints.mean.copy_(data.waypoint_mean)
    model.waypoints.std.copy_(data.waypoint_std)
    sample = data.train[:: max(1, len(data.train) // frames)]
    values = proprio(data.joints(sample))
    model.proprio_stats.fit(values, PROPRIO_FLOOR)
    model.proprio_stats.std[values.amax(0) == values.amin(0)] = UNREAD


def accumulate_gradients(
    model: AIM, batches: Iterator[dict[str, Tensor]], config: PretrainConfig, processes: Processes
) -> dict[str, float]:
    """Adds the gradient of one step's batch, micro-batch by micro-batch; returns the batch's mean losses."""
    count = config.batch_size // config.micro_size(processes.count) // processes.count  # of this process
    weight = 1 / count
    total: Tensor | float = 0.0
    names: list[str] = []
    for batch in itertools.islice(batches, count):
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=config.bf16):
            losses = model.loss(batch)
        (losses["loss"] * weight).backward()
        names = list(losses)
        total = total + torch.stack([value.detach().float() for value in losses.values()]) * weight
    release(model)  # the gathered weights hold no gradients; the shards do
    assert isinstance(total, Tensor)
    return dict(zip(names, processes.mean(total).tolist(), strict=True))


def stage1_metadata(config: PretrainConfig, data: DemonstrationSet) -> dict[str, Any]:
    """The run's part of a checkpoint's metadata."""
    tasks = sorted(data.tasks)
    return {"task": config.task, "tasks": tasks, "stage": 1, "steps": config.steps, "data": str(config.data)} | (
        {} if config.init is None else {"init": str(config.init)}
    )

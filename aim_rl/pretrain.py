"""Stage I, supervised: `python -m aim_rl.pretrain --task T --data DIR --out RUN`, or with `torchrun` before it.

Minimises L = L_rgb + lambda_m L_map + lambda_a L_act (PAPER.md) over demonstrations.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

import envs
from aim_rl.data.dataset import DemonstrationSet
from aim_rl.model import AIM, instruction_tokenizer, load_frozen, load_wan, map_peak_error, proprio, sample_chain
from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.model.compiling import check_compiler, compile_blocks
from aim_rl.model.presets import preset_named
from aim_rl.rollout import seeds
from aim_rl.rollout.seeds import torch_seed
from aim_rl.runs.config import parse
from aim_rl.runs.folder import new_run, tensorboard, use_all_cores
from aim_rl.runs.interrupt import ctrl_c_finishes_the_step, says_how_to_resume
from aim_rl.runs.pictures import Image, stage1_picture
from aim_rl.runs.processes import ALONE, Processes, SharedState, Whole, place, processes, release
from aim_rl.runs.progress import progress
from aim_rl.runs.state import Counters, FiniteUpdates
from envs.errors import UserError, exit_cleanly
from envs.files import read_json

ALL_TASKS = "all"
SAVE_EVERY = 100  # steps that a killed run may lose
UNREAD = 1e6  # std of a number that is not to be read
PROPRIO_FLOOR = 0.02  # smallest std of a proprioception number (m, rad or gripper command)


@dataclass
class PretrainConfig:
    """Stage I: trains the world-action model on demonstrations."""

    task: str
    """RoboTwin's task name, or `all`: every task found in --data."""
    data: Path
    """Directory of episodes, recorded by `python -m aim_rl.collect` or by RoboTwin, or of folders of them."""
    out: Path | None = None
    """Folder of the run; runs/<task>-<time> by default."""
    resume: Path | None = None
    """Run to go on with, by its own configuration."""
    steps: int = 3000
    """Optimizer steps."""
    batch_size: int = 64
    """Chunks per optimizer step."""
    micro_batch: int | None = None
    """Chunks that a process holds at once, if not all of its share: the gradient is accumulated."""
    bf16: bool = False
    """Matrix products in bfloat16 (autocast); weights, averages and optimizer stay in float32."""
    recompute: bool = False
    """Gradient checkpointing: computes blocks again in the backward pass instead of keeping what they computed."""
    compile: bool = False
    """torch.compile of the blocks, for GPUs; needs a C++ compiler."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is saved."""
    preset: str = "small"
    """tiny, small or wan2.2-5b (aim_rl/model/presets.py)."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, which the preset wan2.2-5b starts from."""
    visibility: Literal["intent_causal", "full", "no_map"] = "intent_causal"
    """Who may read whom (aim_rl/model/visibility.py); the others are ablations."""
    seed: int = 0


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over 100 steps (at most a tenth of the run), then a cosine down to 2 %."""
    warmup = min(100, max(1, steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def train(config: PretrainConfig, data: DemonstrationSet, run: Path, here: Processes = ALONE) -> AIM:
    """Runs Stage I; returns the averaged model and leaves it as `<run>/checkpoint`, that of the lowest held-out loss
    as `<run>/best`.
    """
    model = new_model(config, here)
    fit_normalisers(model, data)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=False
    )
    average.n_averaged = average.n_averaged.to(here.device)
    averaged = cast(AIM, average.module)
    if config.compile:
        compile_blocks(model)  # not its average, which only validates
    for part in (model, averaged):
        place(part, here)
    model.recompute = config.recompute
    optimizer = torch.optim.AdamW(
        model.parameters(),
        config.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=config.weight_decay,
        fused=True,
    )
    counters = Counters(step=0, seconds=0.0, best=math.inf)
    updates = FiniteUpdates(counters)
    parts = {"model": Whole(model), "average": Whole(average), "optimizer": Whole(model, optimizer)}
    state = SharedState(run, parts, counters, here)
    if config.resume is not None:
        state.restore()
    first = int(counters["step"])
    if first >= config.steps and _checkpoint_steps(run) != first:
        raise UserError(f"{run} has made {first} steps and has no checkpoint of them; give more than that by --steps")
    started = time.monotonic() - counters["seconds"]
    log = Log(run, first) if here.is_first else None
    with (
        progress(f"Stage I {config.task}", config.steps, "steps", first) as bar,
        ctrl_c_finishes_the_step() as interrupt,
    ):
        for step in range(first, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * learning_rate_factor(step, config.steps)
            optimizer.zero_grad()
            losses = accumulate_gradients(model, data, config, step, here)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            if updates.allow(norm, torch.tensor(losses["loss"])):
                optimizer.step()
                average.update_parameters(model)
            updates.check(run, "--learning-rate")
            done, is_last = step + 1, step + 1 == config.steps
            if log is not None and (step % 20 == 0 or is_last):
                log.scalars(
                    losses | {"gradient_norm": norm.item(), "skipped_updates": counters["skipped_updates"]}, step
                )
                bar.update(done, " ".join(f"{name} {value:.3f}" for name, value in losses.items()))
            counters.update(step=done, seconds=time.monotonic() - started)
            if done % 500 == 0 or is_last:
                metrics, picture = validate(averaged, data, config, here)
                release(averaged)
                if log is not None:
                    log.held_out(metrics, picture, step)
                metadata = stage1_metadata(config, data) | {"held_out": metrics, "minutes": counters["seconds"] / 60}
                metadata |= {"skipped_updates": int(counters["skipped_updates"])}
                save_checkpoint(run / "checkpoint", averaged, metadata, write=here.is_first)
                if metrics["loss"] < counters["best"]:
                    counters["best"] = metrics["loss"]
                    best = {"steps": done, "best_by": "the lowest held-out loss"}
                    save_checkpoint(run / "best", averaged, metadata | best, write=here.is_first)
            stopped = here.any(interrupt.pressed)
            if done % SAVE_EVERY == 0 or is_last or stopped:
                if log is not None:
                    log.flush()  # else a killed run's curve would end before its state
                state.save(done)
            if stopped and not is_last:
                raise KeyboardInterrupt(f"stopped after {done} steps; go on with --resume {run}")
    if log is not None:
        log.close()
    return averaged


def _checkpoint_steps(run: Path) -> int | None:
    """The length of the training that a run's checkpoint comes from."""
    metadata = run / "checkpoint" / "config.json"
    return read_json(metadata).get("steps") if metadata.exists() else None


def new_model(config: PretrainConfig, here: Processes) -> AIM:
    """The model before its first step: the first process has its weights, the others only its shapes."""
    torch.manual_seed(config.seed)
    preset = dataclasses.replace(preset_named(config.preset), visibility=config.visibility)
    if here.is_first:
        model = AIM(preset) if config.wan is None else load_wan(config.wan, preset)
    else:
        with torch.device("meta"):
            model = AIM(preset)
        if config.wan is not None:
            load_frozen(model, config.wan)
    return model


def accumulate_gradients(
    model: AIM, data: DemonstrationSet, config: PretrainConfig, step: int, here: Processes
) -> dict[str, float]:
    """The gradient of one step's batch, this process's share of its micro-batches one by one; the batch's mean losses.

    A micro-batch's draws follow from its number alone, so with --micro-batch given a run takes the same steps on any
    number of processes; by default each process's share is one.
    """
    size = config.micro_batch or config.batch_size // here.count
    count = config.batch_size // size
    total: Tensor | float = 0.0
    names: list[str] = []
    for number in range(here.rank, count, here.count):
        torch.manual_seed(torch_seed(1 + step * count + number, apart=config.seed))
        chosen = data.train[torch.randint(len(data.train), (size,))]
        batch = to_device(data.batch(chosen, wordings=torch.default_generator), here)
        with torch.autocast(here.device.type, torch.bfloat16, enabled=config.bf16):
            losses = model.loss(batch)
        (losses["loss"] * (here.count / count)).backward()
        names = list(losses)
        total = total + torch.stack([value.detach().float() for value in losses.values()]) * (here.count / count)
    release(model)  # the gathered weights carry no gradients; the shares do
    assert isinstance(total, Tensor)
    return dict(zip(names, here.mean(total).tolist(), strict=True))


def to_device(batch: dict[str, Tensor], here: Processes) -> dict[str, Tensor]:
    return {key: value.to(here.device) for key, value in batch.items()}


class Log:
    """The TensorBoard events of a run."""

    def __init__(self, run: Path, first: int) -> None:
        self._writer = tensorboard(run, first)

    def scalars(self, values: Mapping[str, float], step: int, prefix: str = "stage1") -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def held_out(self, metrics: Mapping[str, float], picture: Image, step: int) -> None:
        self.scalars(metrics, step, "stage1/held_out")
        self._writer.add_image("stage1/predicted_and_true", picture, step, dataformats="HWC")

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def stage1_metadata(config: PretrainConfig, data: DemonstrationSet) -> dict[str, Any]:
    """What the checkpoint's metadata says of this run; `load_checkpoint` accepts it for each of `tasks`."""
    return {
        "task": config.task if config.task == ALL_TASKS else envs.resolve_task(config.task),
        "tasks": sorted(data.tasks),
        "stage": 1,
        "steps": config.steps,
        "data": str(config.data),
    }


def fit_normalisers(model: AIM, data: DemonstrationSet, frames: int = 1024) -> None:
    """Sets the waypoint statistics of the data and the proprioception statistics of a sample of its frames.

    What never varies there reads as 0 ever after: RoboTwin's files hold no measured joints, and what a policy learned
    from them makes of a tracking error is chance.
    """
    model.waypoints.mean.copy_(data.waypoint_mean)
    model.waypoints.std.copy_(data.waypoint_std)
    sample = data.train[:: max(1, len(data.train) // frames)]
    values = proprio(data.joints(sample))
    model.proprio_stats.fit(values, PROPRIO_FLOOR)
    model.proprio_stats.std[values.amax(0) == values.amin(0)] = UNREAD


@torch.no_grad()
def validate(
    model: AIM, data: DemonstrationSet, config: PretrainConfig, here: Processes = ALONE, size: int = 128
) -> tuple[dict[str, float], Image]:
    """Held-out losses, the action chunk's error (m, at the last waypoint), the head map's peak error (canvas px), and a
    picture. All processes compute the same.
    """
    model.eval()
    chosen = data.validation[:: max(1, len(data.validation) // size)][:size]
    generator = torch.Generator(here.device).manual_seed(0)
    found: dict[str, list[Tensor]] = defaultdict(list)
    maps: list[tuple[Tensor, Tensor]] = []
    for part in chosen.split(config.micro_batch or size):
        batch = to_device(data.batch(part), here)
        share = len(part) / len(chosen)
        with torch.autocast(here.device.type, torch.bfloat16, enabled=config.bf16):
            for name, value in model.loss(batch, generator).items():
                found[name].append(share * value)
            predicted, error = _last_waypoint_error(model, batch, generator)
        found["last_waypoint_error_m"].append(share * error)
        maps.append((predicted.cpu(), batch["future_maps"].cpu()))
    guess, truth = (torch.cat(z) for z in zip(*maps, strict=True))
    metrics = {name: torch.stack(values).sum().item() for name, values in found.items()}
    metrics["map_peak_error_px"] = map_peak_error(guess, truth, model.preset)[0].item()
    shown = data.validation[:: max(1, len(data.validation) // 4)][:4]
    picture = stage1_picture(model, to_device(data.batch(shown), here))
    model.train()
    return metrics, picture


def _last_waypoint_error(model: AIM, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Predicted maps [B, F, 3, H, W] and the mean distance (m) of a sampled chunk's last waypoint to the true one."""
    _, imagined, context = model.imagine(batch, batch["text"], generator, model.history_of(batch, generator))
    state = proprio(batch)
    noise = torch.randn(batch["waypoints"].shape, generator=generator, device=state.device)
    chain = sample_chain(
        lambda waypoints, t: model.action_velocity(context, state, waypoints, t),
        noise,
        model.preset.action_steps,
        shift=model.preset.shift_action,
    )
    waypoints = model.waypoints.denormalise(chain[:, -1])
    return model.decode_maps(imagined), (waypoints - batch["waypoints"]).unflatten(-1, (2, 7))[:, -1, :, :3].norm(
        dim=-1
    ).mean()


def pretrain(config: PretrainConfig, here: Processes = ALONE) -> Path:
    """Loads the data, runs Stage I and returns the folder of the run."""
    task = None if config.task == ALL_TASKS else envs.resolve_task(config.task)
    check(config, here)
    preset = preset_named(config.preset)
    data = DemonstrationSet(config.data, preset, task, instruction_tokenizer(preset, config.wan))
    print(
        f"{data.episodes} episodes of {', '.join(sorted(data.tasks))}: contacts recorded in "
        f"{data.episodes - data.derived_contacts}, derived from the grippers in {data.derived_contacts}"
    )
    run = config.resume or config.out
    if config.resume is None and here.is_first:
        run = new_run(task or "all_tasks", config.out, config)
    run = run or Path()
    with says_how_to_resume(run):
        train(config, data, run, here)
    return run


def check(config: PretrainConfig, here: Processes) -> None:
    """Raises UserError unless the numbers fit each other and the preset."""
    preset = preset_named(config.preset)
    if config.steps < 1 or config.batch_size < 1:
        raise UserError("--steps and --batch-size must be at least 1")
    if config.learning_rate <= 0 or config.weight_decay < 0 or not 0 <= config.ema < 1:
        raise UserError("--learning-rate must be above 0, --weight-decay at least 0, and --ema from 0 to below 1")
    if not 0 <= config.seed < seeds.TRAININGS:
        raise UserError(f"--seed must be at least 0 and below {seeds.TRAININGS}")
    unit = (config.micro_batch or 1) * here.count
    if unit < 1 or config.batch_size % unit:
        raise UserError(
            f"--batch-size {config.batch_size} cannot be shared out: it must be a multiple of {unit}, --micro-batch "
            f"times the {here.count} processes"
        )
    if config.compile:
        check_compiler()
    if config.wan is not None and preset.text == "words":
        raise UserError(f"--wan is for the preset wan2.2-5b; {config.preset} starts from random weights")


def main() -> None:
    config = parse(PretrainConfig, __doc__)
    with processes() as here:
        if here.count == 1:
            use_all_cores()
        run = pretrain(config, here)
        print(f"Stage I checkpoint: {run / 'checkpoint'}; measure it with")
        task = "TASK" if config.task == ALL_TASKS else config.task
        print(f"  python -m aim_rl.evaluate --task {task} --checkpoint {run}")


if __name__ == "__main__":
    exit_cleanly(main)

"""Stage II, reinforcement learning: `python -m aim_rl.finetune --task T [--stage1 DIR] [--out RUN]`.

Freezes the world and value streams and fine-tunes the action head with a clipped policy gradient on lambda_d * map
response at the commanded TCP position + lambda_s * success (docs/method.md). Advantages are GAE with a critic on
frozen features; `--rl.advantage group --group-size 8 --num-groups 8` is GRPO. Ends with Stage I and Stage II on the
same held-out seeds.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from rich.console import Console
from rich.table import Table
from tensordict import TensorDictBase
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard.writer import SummaryWriter

import envs
from aim_rl import collect, pretrain
from aim_rl.evaluate import run_episodes
from aim_rl.model import AIM
from aim_rl.model.checkpoint import load_checkpoint, save_checkpoint, shipped_checkpoint
from aim_rl.rl.hacking_watch import ALARM, HackingWatch
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import Ppo, PpoConfig, learning_rate_share
from aim_rl.rollout import seeds
from aim_rl.rollout.environments import RolloutConfig
from aim_rl.rollout.groups import CompletedRollouts, training_batches
from aim_rl.rollout.simulators import Simulators
from aim_rl.rollout.videos import draw_decision
from aim_rl.runs.config import parse
from aim_rl.runs.folder import gpu_or_cpu, new_run, tensorboard, use_all_cores
from aim_rl.runs.interrupt import ctrl_c_finishes_the_step, says_how_to_resume
from aim_rl.runs.processes import processes
from aim_rl.runs.progress import progress
from aim_rl.runs.state import Counters, RunState
from aim_rl.runs.statistics import SuccessRate, describe, success_rate
from envs.backend import TABLETOP, BackendOptions
from envs.errors import UserError, exit_cleanly
from envs.files import read_json, write_json
from envs.tabletop.env import SETTINGS
from envs.tabletop.task import Task, task_class
from rewards import MapSource, RewardConfig, Shaping
from rewards.torchrl_transform import ValueMapRewardTransform

SAVE_EVERY = 10  # iterations that a killed run may lose
COUNTED = ("iterations", "episodes", "environment_steps", "decisions")


@dataclass
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
    """Run to go on with, by its own configuration."""
    setting: str = "clean"
    """clean or randomized."""
    iterations: int = 80
    group_size: int = 2
    """Rollouts per seed."""
    num_groups: int = 32
    """Groups per iteration."""
    step_limit: int = 144
    """Control steps per training episode; evaluation has RoboTwin's limit."""
    sampler: Literal["initial_noise", "flow_sde", "cps", "flow_noise"] = "initial_noise"
    """How Stage II explores (aim_rl/model/sampler.py, aim_rl/rl/policy.py)."""
    noise_level: float | None = None
    """The exploring sampler's `a`: 0.5 by default, 0.16 of flow_noise."""
    shaping: Shaping = "settled"
    """What the dense reward is (rewards/shaping.py); additive is the paper's."""
    maps: MapSource = "refreshed"
    """Which maps the dense reward reads (rewards/maps.py); uniform, other_decision and other_scene are controls."""
    anneal: bool = False
    """Lets the dense reward's weight fall linearly to 0 over the iterations."""
    lambda_dense: float = 0.2
    """Weight of the dense reward."""
    lambda_sparse: float = 1.0
    """Weight of success."""
    train_world: bool = False
    """An ablation: trains the world streams too, which the reward then depends on."""
    rl: PpoConfig = field(default_factory=PpoConfig)
    evaluation_episodes: int = 100
    measure_stage1: bool = True
    """Measures Stage I too; several runs from one Stage I need it once."""
    seed: int = 0
    workers: int = 2
    """Processes."""
    envs_per_worker: int | None = None
    """Scenes per process; 16 by default, with RoboTwin 1."""
    simulator: BackendOptions = TABLETOP


def reinforce(config: FinetuneConfig, task: str, model: AIM, run: Path) -> dict[str, float]:
    """Runs Stage II on `model` in place and leaves `<run>/checkpoint` and `<run>/best`; returns totals.

    The learning rate rises and falls again; the result is the mean of the action head's weights over the second half of
    the iterations (Polyak averaging): a binary reward moves single iterations about more than it moves them forward.
    The best are the weights after those `SAVE_EVERY` iterations in which the exploring policy succeeded most often.
    """
    torch.manual_seed(config.seed)
    preset = model.preset
    policy = AimPolicy(model, preset.execute, config.sampler, config.noise_level, config.train_world)
    learner, watch = Ppo(policy, config.rl), HackingWatch()
    average = AveragedModel(policy.trained)
    reward = ValueMapRewardTransform(reward_config(config), preset.head_size)
    simulators = Simulators(rollout_config(config, task, model), policy, config.seed, learner.observed)
    ready, totals = CompletedRollouts(), Counters(dict.fromkeys((*COUNTED, "seconds", "restarts"), 0.0))
    judged = Counters(success=0.0, best=-1.0)
    parts = {"learner": learner, "watch": watch, "average": average, "simulators": simulators, "ready": ready}
    state = RunState(run, **parts, totals=totals, judged=judged)
    if config.resume is not None and state.exists():
        state.restore()
    writer = tensorboard(run, int(totals["environment_steps"]) + 1)
    first, clock = int(totals["iterations"]), time.monotonic()
    try:
        with (
            progress(f"Stage II {task}", config.iterations, "iterations", first) as bar,
            ctrl_c_finishes_the_step() as interrupt,
        ):
            batches = training_batches(simulators, ready, config.group_size * config.num_groups)
            for iteration, rollouts in zip(range(first, config.iterations), batches, strict=False):
                done = iteration + 1
                reward.trained = iteration / config.iterations
                learner.rate = learning_rate_share((iteration + 0.5) / config.iterations)
                metrics = learner.assign_advantages(reward(rollouts))
                learner.check(run)
                metrics |= watch.update(rollouts, metrics)
                metrics |= learner.update(rollouts)
                learner.check(run)
                if 2 * done > config.iterations:
                    average.update_parameters(policy.trained)
                counts = count(rollouts)
                seconds, clock = time.monotonic() - clock, time.monotonic()
                metrics["speed/episodes_per_s"] = counts["episodes"] / seconds
                metrics["speed/decisions_per_s"] = counts["decisions"] / seconds
                metrics["noise_level"] = policy.noise_level
                metrics["skipped_updates"] = learner.counters["skipped_updates"]
                restarts = simulators.restarts - totals["restarts"]  # also while the last state was saved
                within = rollouts["next", "restarts"][..., 0] * rollouts["collector", "mask"]
                metrics["simulator_restarts"] = float(within.amax(1).sum()) + restarts
                counts |= {"iterations": 1, "seconds": seconds, "restarts": restarts}
                totals.update({key: totals[key] + counts[key] for key in totals})
                for name, value in metrics.items():
                    writer.add_scalar(f"stage2/{name}", value, int(totals["environment_steps"]))
                if watch.raised_now:
                    print(ALARM)
                if iteration % 10 == 0:
                    log_pictures(writer, rollouts, int(totals["environment_steps"]))
                bar.update(
                    done,
                    f"success {metrics['success']:.2f} dense {metrics['return_dense']:.2f} "
                    f"KL {metrics.get('update/kl_to_stage1', 0):.3f} {metrics['speed/episodes_per_s']:.1f} episodes/s",
                )
                judged["success"] += metrics["success"] / SAVE_EVERY
                if done % SAVE_EVERY == 0:
                    keep_best(run, model, metadata(config, task, totals, learner), judged)
                if done % SAVE_EVERY == 0 or done == config.iterations or interrupt.pressed:
                    save_checkpoint(run / "checkpoint", model, metadata(config, task, totals, learner))
                    writer.flush()  # else a killed run's curves would end before its state
                    state.save(done)
                if interrupt.pressed:
                    raise KeyboardInterrupt(f"stopped after {done} iterations; go on with --resume {run}")
    finally:
        simulators.shutdown()
    policy.trained.load_state_dict(average.module.state_dict())
    end = metadata(config, task, totals, learner) | {"minutes": totals["seconds"] / 60}
    save_checkpoint(run / "checkpoint", model, end)
    writer.close()
    return end


def trained_before(config: FinetuneConfig, task: str, model: AIM, run: Path) -> dict[str, Any] | None:
    """Of a run that has lost nothing but its result: what `reinforce` did and returned. None of any other run."""
    if config.resume is None or (run / "trainer").exists() or not (run / "checkpoint").exists():
        return None
    trained, found = load_checkpoint(run / "checkpoint", task, config.wan)
    if "minutes" not in found:  # which the last checkpoint alone says
        return None
    model.load_state_dict(trained.state_dict())
    return {name: found[name] for name in (*("task", "stage", "setting"), *COUNTED, "skipped_updates", "minutes")}


def rollout_config(config: FinetuneConfig, task: str, model: AIM) -> RolloutConfig:
    """What the simulator processes run."""
    return RolloutConfig(
        task,
        config.setting,
        model.preset,
        model.preset.execute,
        config.step_limit,
        config.workers,
        config.envs_per_worker or config.simulator.default_envs_per_worker(16),
        config.group_size,
        seeds.reinforcement(config.seed),
        model.text.tokenize,
        config.simulator,
    )


def reward_config(config: FinetuneConfig) -> RewardConfig:
    """The composed reward."""
    lambdas = config.lambda_dense, config.lambda_sparse
    return RewardConfig(*lambdas, config.shaping, config.rl.gamma, config.maps, config.anneal)


def metadata(config: FinetuneConfig, task: str, totals: Counters, learner: Ppo) -> dict[str, Any]:
    """What a checkpoint's metadata says of the run so far."""
    counts = {key: int(totals[key]) for key in COUNTED}
    skipped = int(learner.counters["skipped_updates"])
    return {"task": task, "stage": 2, "setting": config.setting, **counts, "skipped_updates": skipped}


def keep_best(run: Path, model: AIM, metadata: dict[str, Any], judged: Counters) -> None:
    """Saves the weights as `<run>/best` if no iterations before were as successful as the last ones."""
    success, judged["success"] = judged["success"], 0.0
    if success > judged["best"]:
        judged["best"] = success
        best_by = f"success of the exploring policy in {SAVE_EVERY} iterations"
        save_checkpoint(run / "best", model, metadata | {"best_by": best_by, "exploring_success": success})


def count(rollouts: TensorDictBase) -> dict[str, int]:
    """Episodes, environment (control) steps and decisions of a batch of rollouts."""
    mask = rollouts["collector", "mask"]
    steps = (rollouts["next", "executed"].sum(-1) * mask).sum()
    return {"episodes": len(rollouts), "environment_steps": int(steps), "decisions": int(mask.sum())}


def log_pictures(writer: SummaryWriter, rollouts: TensorDictBase, step: int) -> None:
    """The first rollout's first decisions: frame, predicted map, projected commanded TCP positions."""
    for index in range(min(4, int(rollouts["collector", "mask"][0].sum()))):
        decision = cast(TensorDictBase, rollouts[0, index])
        picture = draw_decision(
            decision["head_camera"],
            decision["value_map"][0],
            decision["commanded_tcp"][: decision["next", "executed"].shape[-1]],
            decision["head_camera_intrinsic"],
            decision["head_camera_extrinsic"],
        )
        writer.add_image(f"rollout/decision_{index}", picture, step, dataformats="HWC")


def stage1_model(config: FinetuneConfig, task: str, run: Path) -> AIM:
    """The Stage I model: given, shipped, or trained now from fresh demonstrations."""
    path = config.stage1 or shipped_checkpoint(task)
    if path is None:
        print(f"No Stage I checkpoint is shipped for {task}: recording demonstrations and training one first.")
        data = run / "demonstrations"
        collect.collect(
            collect.CollectConfig(
                task, data, workers=config.workers, setting=config.setting, simulator=config.simulator
            )
        )
        path = run / "stage1"
        begun = path if (path / "config.json").exists() else None
        with processes() as here:
            pretrain.pretrain(pretrain.PretrainConfig(task, data, path, resume=begun), here)
    return load_checkpoint(path, task, config.wan)[0].to(gpu_or_cpu())


def measure(config: FinetuneConfig, task: str, model: AIM, stage: str) -> SuccessRate:
    """Success on the held-out seeds, the same for both stages."""
    outcome = run_episodes(
        model,
        task,
        config.setting,
        seeds.TEST,
        config.evaluation_episodes,
        config.workers,
        f"evaluate {stage}",
        config.simulator,
    )
    return success_rate(sum(outcome.values()), len(outcome))


def measure_stage1(config: FinetuneConfig, task: str, model: AIM, run: Path) -> SuccessRate | None:
    """As `measure`, once in a run; None if it is not asked for."""
    file = run / "stage1.json"
    if not config.measure_stage1:
        return None
    if config.resume is None or not file.exists():
        write_json(file, {**measure(config, task, model, "Stage I")})
    return read_json(file)


def report(result: dict[str, Any]) -> None:
    """Prints the final table."""
    table = Table(title=f"{result['task']} ({result['setting']}), held-out seeds, Wilson 95 % intervals")
    for column in ("", "success", "environment steps", "minutes"):
        table.add_column(column)
    if result["stage1"] is not None:
        table.add_row("Stage I", describe(result["stage1"]))
    table.add_row("Stage II", describe(result["stage2"]), str(result["environment_steps"]), f"{result['minutes']:.1f}")
    Console().print(table)


def finetune(config: FinetuneConfig, task: str, run: Path) -> dict[str, Any]:
    """Stage II between the two measurements; returns what `result.json` says."""
    model = stage1_model(config, task, run)
    if config.train_world and model.preset.history:
        raise UserError("--train-world is for presets without history; leave it out, or train Stage I with another one")
    if config.rl.advantage == "gae" and not model.preset.keypoints:
        way_out = "give --rl.advantage group --group-size 8 --num-groups 8"
        raise UserError(f"the critic sees the world by keypoints, and this Stage I model's preset has none; {way_out}")
    stage1 = measure_stage1(config, task, model, run)
    totals = trained_before(config, task, model, run) or reinforce(config, task, model, run)
    return {"stage1": stage1, "stage2": measure(config, task, model, "Stage II"), **totals}


def check(config: FinetuneConfig, task: str) -> None:
    """Raises UserError unless the settings fit each other and the task."""
    if config.setting not in SETTINGS:
        raise UserError(f"unknown setting {config.setting!r}; choose one of {', '.join(SETTINGS)}")
    counts = [config.iterations, config.num_groups, config.step_limit, config.evaluation_episodes]
    counts += [config.workers, 1 if config.envs_per_worker is None else config.envs_per_worker]
    if min(counts) < 1 or config.group_size < 2 or min(config.rl.epochs, config.rl.minibatch) < 1:
        raise UserError("--group-size must be at least 2, and every other count at least 1")
    if config.noise_level is not None and config.noise_level <= 0:
        raise UserError("--noise-level must be above 0")
    if not 0 <= config.seed < seeds.TRAININGS:
        raise UserError(f"--seed must be at least 0 and below {seeds.TRAININGS}")
    if config.iterations * config.num_groups > (room := seeds.VALIDATION - seeds.reinforcement(config.seed)):
        raise UserError(
            f"--iterations times --num-groups must be at most {room}: the scenes after those are for evaluation"
        )
    check_update(config.rl)
    if config.rl.dense_weight is not None and (config.rl.advantage == "gae" or config.anneal):
        raise UserError("--rl.dense-weight goes with --rl.advantage group or trajectory, and without --anneal")
    if config.maps == "other_scene" and config.num_groups < 2:
        raise UserError("--maps other_scene needs at least two scenes in an iteration: --num-groups 2 or more")
    measured = config.simulator.backend == "tabletop" and task_class(task).progress is not Task.progress
    if config.shaping == "privileged" and not measured:
        raise UserError(f"{task} measures no progress (`Task.progress` in its file); choose another --shaping")
    if config.stage1 is not None:
        load_checkpoint(config.stage1, task, config.wan)
    elif config.wan is not None:
        raise UserError("--wan goes with --stage1, a checkpoint of the preset wan2.2-5b")


def check_update(config: PpoConfig) -> None:
    """Raises UserError unless every number is one that an update can be made with."""
    if min(config.learning_rate, config.std_floor, config.max_gradient) <= 0:
        raise UserError("--rl.learning-rate, --rl.std-floor and --rl.max-gradient must be above 0")
    if not 0 < config.clip_low < 1 or config.clip_high <= 0:
        raise UserError("--rl.clip-low must lie between 0 and 1, and --rl.clip-high above 0")
    if not (0 <= config.gamma <= 1 and 0 <= config.gae_lambda <= 1):
        raise UserError("--rl.gamma and --rl.gae-lambda must lie in 0 .. 1")


def main() -> None:
    config = parse(FinetuneConfig, __doc__, fixed=("iterations", "group_size"))
    task = envs.resolve_task(config.task)
    check(config, task)
    use_all_cores()
    simulated = config.simulator.require(task, config.setting)
    run = config.resume or new_run(task, config.out, config)
    file = run / "result.json"
    if config.resume is not None and file.exists():
        print(f"{run} is finished; more iterations are another run")
        try:
            report(read_json(file))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error!r}); delete it to measure again") from error
    else:
        with says_how_to_resume(run):
            result = simulated | finetune(config, task, run)
        report(result)
        write_json(file, result)
    shutil.rmtree(run / "trainer", ignore_errors=True)  # hundreds of megabytes of rollouts that had not ended
    print(f"Run: {run} (result.json, checkpoint); watch it with `tensorboard --logdir {run}`")


if __name__ == "__main__":
    exit_cleanly(main)

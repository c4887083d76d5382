"""Stage II, reinforcement learning: `python -m aim_rl.finetune --task T [--stage1 DIR] [--out RUN]`.

Freezes the world and value streams and fine-tunes the action head on lambda_dense * map response at the commanded TCP
position + lambda_sparse * success (docs/method.md). The default is PPO with GAE and a critic on frozen features;
`--rl.advantage group --rollout.group-size 8 --rollout.num-groups 8` is GRPO. Ends with the success of Stage I and
Stage II on the same held-out seeds.
"""

from __future__ import annotations

import functools
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from aim_rl import collect
from aim_rl.model import AIM
from aim_rl.model.checkpoint import add_metadata, load_checkpoint, resolve_checkpoint
from aim_rl.model.pretrained import read_metadata, read_preset
from aim_rl.rl.awr import Awr
from aim_rl.rl.config import MOVED, FinetuneConfig, parse_flags
from aim_rl.rl.plan import duration, plan
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import Ppo
from aim_rl.rl.trainer import COUNTED, Rollouts, Schedule, Trainer
from aim_rl.rl.validation import Validation
from aim_rl.rollout import seeds
from aim_rl.rollout.evaluation import run_episodes
from aim_rl.rollout.kept_rollouts import RolloutNotes, disk_need, write_rollouts
from aim_rl.rollout.shared_memory import check_shared_memory
from aim_rl.rollout.training import TrainingRollouts
from aim_rl.runs.dashboard import STAGE2, describe_run, log_held_out
from aim_rl.runs.folder import command_of, gpu_or_cpu, new_run, use_all_cores, watch
from aim_rl.runs.history import record_resume
from aim_rl.runs.interrupt import says_how_to_resume
from aim_rl.runs.processes import processes
from aim_rl.runs.state import last_step
from aim_rl.runs.statistics import SuccessRate, describe, success_rate
from aim_rl.supervised.config import PretrainConfig
from aim_rl.supervised.trainer import pretrain
from envs.errors import UserError, exit_cleanly
from envs.files import read_json, write_json
from rewards.torchrl_transform import ValueMapRewardTransform

OF_STAGE1 = ("data", "demonstrations", "data_seeds", "steps", "command", "measured")
"""What a checkpoint of Stage II says about the Stage I model that it was trained from."""


def stage1_checkpoint(config: FinetuneConfig) -> Path | None:
    """The Stage I checkpoint, given or shipped; None: it has to be trained first.

    Raises:
        UserError: it is no checkpoint or one of another task. Its weights are not read.
    """
    path = resolve_checkpoint(config.task, config.stage1)
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
    """The worker processes. Raises UserError if the machine does not let them share the weights."""
    check_shared_memory(policy, config.workers)
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
    metadata = {"task": config.task, "stage": 2, "setting": config.setting, "command": command_of(run)}
    metadata["trained_from"] = {key: model.metadata[key] for key in OF_STAGE1 if key in model.metadata}
    validation = None
    if config.validation_episodes:
        validation = Validation(run, policy, functools.partial(measured, config, model), config.validate_every)
    notes = RolloutNotes(run) if config.keep_rollouts else None
    source = rollouts(config, policy, (*learner.observed, "action") if notes else learner.observed)
    try:
        resume = config.resume is not None
        trainer = Trainer(schedule, policy, source, reward, learner, validation, run, metadata, resume, notes)
        describe_run(trainer.writer, STAGE2, config, trainer.steps)
        return trainer.train()
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
    made = ("task", "stage", "setting", "command", "trained_from")
    kept = (*made, *COUNTED, "updates", "skipped_updates", "validation", "minutes")
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


def write_kept(config: FinetuneConfig, run: Path) -> None:
    """Writes the rollouts that the run has noted as episodes. Raises as `write_rollouts`."""
    kept, preset = RolloutNotes(run).latest(config.keep_rollouts), read_preset(run / "checkpoint")
    if not kept:
        print("No rollout succeeded, so --keep-rollouts keeps none")
        return
    config.simulator.require(config.task, config.setting)
    make_env = functools.partial(
        config.simulator.make, config.task, config.setting, preset.head_size, preset.wrist_size, action_mode="ee"
    )
    write_rollouts(run, kept, preset, make_env, config.setting, config.workers)
    print(f"Train Stage I on them: python -m aim_rl.pretrain --task {config.task} --data {run / 'rollouts'}")


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
    if RolloutNotes(run).folder.exists():
        with says_how_to_resume(run):
            write_kept(config, run)
        RolloutNotes(run).delete()
    print(f"Run: {run} (result.json, checkpoint); look at it with")
    print(f"  {shlex.join(['python', '-m', 'aim_rl.report', str(run)])}\n  {watch(run)}")


def start(config: FinetuneConfig) -> Path:
    """Runs the command; returns the folder of the run. A Stage I that is not usable is refused before it is made."""
    path = stage1_checkpoint(config)
    done = 0 if config.resume is None else last_step(config.resume)
    print(plan(config, path is None, done), flush=True)
    use_all_cores()
    simulated = config.simulator.require(config.task, config.setting)
    model = None if path is None else load_stage1(config, path)
    if model is not None:
        check_shared_memory(model, config.workers)  # `simulate` does so, too, but only after Stage I is measured
    run = config.resume or new_run(config.task, config.out, config)
    with says_how_to_resume(run):
        print(f"Watch it, from the first iteration on, at http://localhost:6006 after\n  {watch(run)}", flush=True)
        model = model or load_stage1(config, train_stage1(config, run))
        if config.keep_rollouts:
            most = disk_need(config.keep_rollouts * config.rollout.step_limit, model.preset)
            print(f"--keep-rollouts {config.keep_rollouts} will take up to {most / 1e6:.0f} MB in {run / 'rollouts'}")
        print(duration(config, model, done), flush=True)
        if config.resume is not None:
            record_resume(run, config, MOVED)
        result: dict[str, Any] = {**simulated, **finetune(config, model, run)}
    report(result)
    how = f"python -m aim_rl.evaluate --task {config.task} --setting {config.setting} --checkpoint DIR"
    measured = {"setting": config.setting, "command": f"{how} --episodes {config.evaluation_episodes}"}
    add_metadata(run / "checkpoint", {"measured": {**measured, **result["stage2"]}})
    log_held_out(run, result)
    write_json(run / "result.json", result)
    return run


if __name__ == "__main__":
    exit_cleanly(main)

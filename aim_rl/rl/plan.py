"""What Stage II is going to do and how long that takes on this machine, said before it begins."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from aim_rl.model import AIM
from aim_rl.rl.config import FinetuneConfig
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.environments import make_env, new_episodes
from aim_rl.runs.folder import one_thread
from envs.tabletop.task import task_class

BATCH = 16  # decisions at once


@dataclass(frozen=True)
class Pace:
    """Seconds that this machine takes per decision, with a core for itself."""

    simulate: float
    """To execute and render it."""
    decide: float
    """To make it, in a batch."""
    replay: float
    """To learn from it once."""


def plan(config: FinetuneConfig, train_stage1: bool, done: int) -> str:
    """The parts of the command, one per line.

    Args:
        config: the settings.
        train_stage1: whether there is no Stage I yet.
        done: iterations that the run has made.
    """
    episodes = config.rollout.group_size * config.rollout.num_groups
    lines = ["demonstrations and Stage I, which is not shipped for this task"] if train_stage1 else []
    if config.measure_stage1 and not done:
        lines.append(f"success of Stage I on {config.evaluation_episodes} held-out scenes")
    training = f"{config.iterations - done} iterations of {episodes} episodes"
    if config.validation_episodes:
        training += f", and {config.validation_episodes} validation scenes every {config.validate_every} iterations"
    lines += [training, f"success of Stage II on {config.evaluation_episodes} held-out scenes, and a table"]
    numbered = (f"  {number}. {line}" for number, line in enumerate(lines, 1))
    return "\n".join([f"Stage II, reinforcement learning of {config.task} ({config.setting}):", *numbered])


def duration(config: FinetuneConfig, model: AIM, done: int) -> str:
    """How long the rest of the plan takes after Stage I, measured in seconds on this machine."""
    if config.simulator.backend == "robotwin":
        return "How long RoboTwin takes on this machine shows in the progress lines."
    seconds = estimate(config, measure_pace(config, model), done, model.preset.execute)
    return f"Measured on this machine: it takes up to {in_words(seconds)}, less the earlier episodes succeed."


def estimate(config: FinetuneConfig, pace: Pace, done: int, execute: int) -> float:
    """Seconds that the rest of the run takes if every episode lasts until its step limit.

    Args:
        config: the settings.
        pace: of this machine.
        done: iterations that the run has made.
        execute: control steps per decision.
    """
    cores = min(config.workers, len(os.sched_getaffinity(0)))
    trained, evaluated = (
        -(-limit // execute) for limit in (config.rollout.step_limit, task_class(config.task).step_limit)
    )
    left = config.iterations - done
    decisions = config.rollout.group_size * config.rollout.num_groups * trained
    replayed = config.rl.epochs * decisions if config.algorithm == "ppo" else config.awr.steps * config.awr.minibatch
    training = left * (decisions * (pace.simulate + pace.decide) / cores + replayed * pace.replay)
    validations = left // config.validate_every + 1 + (not done)
    measurements = 1 + (config.measure_stage1 and not done)
    watched = validations * config.validation_episodes * trained + measurements * config.evaluation_episodes * evaluated
    return training + watched * (pace.simulate / cores + pace.decide)  # there the processes wait for the policy


def measure_pace(config: FinetuneConfig, model: AIM) -> Pace:
    """Tries one environment, one batch of decisions and one gradient of them; the weights stay as they are."""
    exploration = config.exploration
    policy = AimPolicy(model, model.preset.execute, exploration.sampler, exploration.noise_level, config.train_world)
    rollout = config.rollout_config(model)
    env = make_env(rollout, new_episodes(rollout, [rollout.first_seed]))
    try:
        with one_thread():
            observed = env.reset()
            batch = observed.expand(BATCH).clone()
            decide = _seconds(lambda: policy(batch))
            observed["action"] = batch["action"][0]
            simulate = _seconds(lambda: env.step(observed))
    finally:
        env.close()
    decisions, parameters = batch.to(model.device), list(policy.trained_parameters())

    def replay() -> None:
        likelihood = policy.get_dist(decisions).log_prob(decisions["sample"]).sum()
        torch.autograd.grad(likelihood, parameters, allow_unused=True)

    return Pace(simulate, decide / BATCH, _seconds(replay) / BATCH)


def _seconds(work: Callable[[], object]) -> float:
    """How long some work takes, the second time."""
    work()
    started = time.monotonic()
    work()
    return time.monotonic() - started


def in_words(seconds: float) -> str:
    """`40 s`, `25 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"

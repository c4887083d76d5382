"""Steers a frozen policy by its initial noise: `python -m experiments.dsrl --task T --out DIR`.

Diffusion steering (DSRL, Wagenmaker et al. 2025, arXiv 2506.15799): the action head is frozen too, and an agent chooses
the initial noise w of its denoising. The agent is Stable-Baselines3's PPO, where the authors use SAC (docs/results.md
says why). It starts with w from N(0, 1), as in Stage I, and observes the stem's keypoints and the proprioception. The
reward is the composed one, through `rewards.gym_wrapper`. PPO bootstraps at the step limit; Stage II's episodes end
there. A seed that has a result is not run again. Writes results.csv, curves.csv and table.md into DIR.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import envs
from aim_rl.evaluate import choose_checkpoint
from aim_rl.model import sample_chain
from aim_rl.runs.statistics import describe
from envs.errors import exit_cleanly
from envs.files import read_json, write_json
from experiments.gym_env import (
    AgentConfig,
    Array,
    FlatEnv,
    FrozenModel,
    GymTask,
    check_training,
    chunk_env,
    decode,
    evaluate,
    learn,
)
from experiments.runs import begin, write_csv, write_table
from rewards import RewardConfig, Shaping

BOUND = 3.0  # largest initial noise
GAMMA = 0.97  # per decision of half a second
ROLLOUT = 128  # decisions per process between two updates


@dataclass
class DsrlConfig(AgentConfig):
    """Reinforcement learning on the initial noise of a frozen policy."""

    shaping: Shaping = "settled"
    """The dense reward (rewards/shaping.py)."""


class NoiseActions(FlatEnv):
    """Actions in [-1, 1] are the initial noise divided by `BOUND`; the frozen action head denoises it into a chunk."""

    def __init__(self, env: gym.Env[Any, Any], frozen: FrozenModel) -> None:
        self._frozen, preset = frozen, frozen.model.preset
        super().__init__(env, self._features, preset.n_waypoints * preset.action_dim)

    def _features(self, observation: dict[str, Any]) -> Array:
        _, context, state = self._frozen.world(observation)
        state = self._frozen.model.proprio_stats.normalise(state)
        return torch.cat([context.keypoints, state], 1)[0].numpy()

    @torch.no_grad()
    def chunk(self, observation: dict[str, Any], action: Array) -> Array:
        model, (_, context, state) = self._frozen.model, self._frozen.world(observation)
        preset = model.preset
        noise = BOUND * torch.as_tensor(action).reshape(1, preset.n_waypoints, -1)
        velocity = functools.partial(model.action_velocity, context, state)
        chain = sample_chain(velocity, noise, preset.action_steps, shift=preset.shift_action)
        return decode(observation, model.waypoints.denormalise(chain[0, -1]), preset.stride)[: preset.execute]


def make(setup: GymTask, workers: int, worker: int) -> NoiseActions:
    frozen = FrozenModel(setup.checkpoint, setup.task, setup.wan)
    return NoiseActions(chunk_env(setup, frozen, worker, workers), frozen)


def steering(pool: VecEnv, seed: int) -> PPO:
    """PPO whose noise starts as N(0, 1)."""
    policy = {"log_std_init": -math.log(BOUND)}
    return PPO(
        "MlpPolicy",
        pool,
        n_steps=ROLLOUT,
        batch_size=ROLLOUT,
        gamma=GAMMA,
        policy_kwargs=policy,
        seed=seed,
        device="cpu",
    )


def train(config: DsrlConfig, task: str, seed: int, folder: Path) -> None:
    """Runs one training; writes result.json and curve.json into `folder`."""
    reward = RewardConfig(config.lambda_dense, config.lambda_sparse, config.shaping, GAMMA)
    checkpoint = choose_checkpoint(task, config.checkpoint)
    setup = GymTask(task, checkpoint, reward, config.step_limit, seed, config.wan)

    agent, steps = learn(config, setup, f"DSRL {task} {seed}", make, functools.partial(steering, seed=seed), folder)
    test = make(dataclasses.replace(setup, step_limit=None), 1, 0)
    rate = evaluate(test, lambda features: agent.predict(features, deterministic=True)[0], config.episodes)
    middle = np.zeros(test.action_space.shape or (), np.float32)
    unsteered = evaluate(test, lambda _: middle, config.episodes)
    test.close()
    write_json(folder / "result.json", {"steered": rate, "unsteered": unsteered, "environment_steps": steps})


def main() -> None:
    config = tyro.cli(DsrlConfig, description=__doc__)
    task = envs.resolve_task(config.task)
    check_training(task, config, [config.shaping])
    begin(task, config.out, config, "seeds")
    results, curves = [], []
    for seed in config.seeds:
        folder = config.out / f"seed-{seed}"
        if not (folder / "result.json").exists():
            train(config, task, seed, folder)
        result = read_json(folder / "result.json")
        for policy, steps in (("unsteered", 0), ("steered", result["environment_steps"])):
            results.append({"policy": policy, "seed": seed, **result[policy], "environment_steps": steps})
        curves += [{"seed": seed, **episode} for episode in read_json(folder / "curve.json")["episodes"]]
    write_csv(config.out / "results.csv", results)
    write_csv(config.out / "curves.csv", curves)
    rows = [[one["policy"], one["seed"], describe(one), one["environment_steps"]] for one in results]
    write_table(config.out / "table.md", ["noise", "seed", "success (Wilson 95 %)", "environment steps"], rows)


if __name__ == "__main__":
    exit_cleanly(main)

"""Steering the flow, not training it: `python -m experiments.dsrl --task T --out DIR`.

Diffusion steering (DSRL, Wagenmaker et al. 2025, arXiv 2506.15799): the action head is frozen too, and an agent chooses
the initial noise w of its denoising, |w| <= 1.5, where it would draw w from N(0, 1). The agent is Stable-Baselines3's
SAC; it sees the stem's keypoints and the proprioception. The reward is the composed one, through `rewards.gym_wrapper`.
Where the time limit cuts an episode, SAC bootstraps; Stage II's episodes end there. A seed whose result is there is not
run again. Writes results.csv, curves.csv and table.md into DIR.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import SAC

import envs
from aim_rl.backend import TABLETOP
from aim_rl.evaluate import choose_checkpoint
from aim_rl.model import sample_chain
from aim_rl.progress import progress
from aim_rl.runs import check_writable
from aim_rl.statistics import describe
from envs.errors import exit_cleanly
from envs.files import read_json, write_json
from experiments.gym_env import (
    Array,
    Curve,
    FlatEnv,
    FrozenModel,
    GymTask,
    check_training,
    chunk_env,
    decode,
    evaluate,
    vectorised,
)
from experiments.runs import begin, write_csv, write_table
from rewards import RewardConfig, Shaping

BOUND = 1.5  # of the noise, as in the paper
GAMMA = 0.97  # per decision of half a second
UPDATES = 4  # of the critic and the agent per decision
WARM_UP = 500  # decisions with uniform noise


@dataclass
class DsrlConfig:
    """Reinforcement learning on the initial noise of a frozen policy."""

    task: str
    """RoboTwin's task name."""
    out: Path
    """Folder of the results."""
    checkpoint: Path | None = None
    """Stage I run or checkpoint; the shipped one by default."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, if not the one that the checkpoint names."""
    shaping: Shaping = "settled"
    """The dense reward (rewards/shaping.py)."""
    lambda_dense: float = 0.2
    lambda_sparse: float = 1.0
    steps: int = 250_000
    """Environment (control) steps of each run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    step_limit: int = 144
    """Control steps per training episode; evaluation has RoboTwin's limit."""
    episodes: int = 100
    """Held-out episodes."""
    workers: int = 2
    """Processes."""


class NoiseActions(FlatEnv):
    """Actions in [-1, 1] are the initial noise over `BOUND`; the frozen action head makes a chunk of it."""

    def __init__(self, env: gym.Env[Any, Any], frozen: FrozenModel) -> None:
        self._frozen, preset = frozen, frozen.model.preset
        super().__init__(env, self._features, preset.n_knots * preset.action_dim)

    def _features(self, observation: dict[str, Any]) -> Array:
        _, context, state = self._frozen.world(observation)
        state = self._frozen.model.proprio_stats.normalise(state)
        return torch.cat([context.keypoints, state], 1)[0].numpy()

    @torch.no_grad()
    def chunk(self, observation: dict[str, Any], action: Array) -> Array:
        model, (_, context, state) = self._frozen.model, self._frozen.world(observation)
        preset = model.preset
        noise = BOUND * torch.as_tensor(action).reshape(1, preset.n_knots, -1)
        velocity = functools.partial(model.action_velocity, context, state)
        chain = sample_chain(velocity, noise, preset.action_steps, shift=preset.shift_action)
        return decode(observation, model.knots.denormalise(chain[0, -1]), preset.stride)[: preset.execute]


def make(setup: GymTask, workers: int, worker: int) -> NoiseActions:
    frozen = FrozenModel(setup.checkpoint, setup.task, setup.wan)
    return NoiseActions(chunk_env(setup, frozen, worker, workers), frozen)


def train(config: DsrlConfig, task: str, seed: int, folder: Path) -> None:
    """One run; leaves result.json and curve.json in `folder`."""
    check_writable(folder / "result.json")
    reward = RewardConfig(config.lambda_dense, config.lambda_sparse, config.shaping, GAMMA)
    checkpoint = choose_checkpoint(task, config.checkpoint)
    setup = GymTask(task, checkpoint, reward, config.step_limit, seed, config.wan)
    with (
        vectorised(functools.partial(make, setup, config.workers), config.workers) as pool,
        progress(f"DSRL {task} {seed}", config.steps, "steps") as bar,
    ):
        curve = Curve(bar)
        agent = SAC(
            "MlpPolicy",
            pool,
            buffer_size=100_000,
            learning_starts=WARM_UP,
            gradient_steps=UPDATES * config.workers,
            gamma=GAMMA,
            seed=seed,
            device="cpu",
        )
        agent.learn(config.steps // pool.get_attr("execute", [0])[0], callback=curve)
    test = make(GymTask(task, checkpoint, reward, None, seed, config.wan), 1, 0)
    rate = evaluate(test, lambda features: agent.predict(features, deterministic=True)[0], config.episodes)
    middle = np.zeros(test.action_space.shape or (), np.float32)
    unsteered = evaluate(test, lambda _: middle, config.episodes)
    test.close()
    write_json(folder / "curve.json", {"episodes": curve.episodes})
    write_json(folder / "result.json", {"steered": rate, "unsteered": unsteered, "environment_steps": curve.steps})


def main() -> None:
    config = tyro.cli(DsrlConfig, description=__doc__)
    task = envs.resolve_task(config.task)
    TABLETOP.require(task, "clean")
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

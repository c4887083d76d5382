"""What the world-action model buys: `python -m experiments.baselines_sb3 --task T --out DIR`.

Trains Stable-Baselines3's PPO from scratch on the same environment and reward, through `rewards.gym_wrapper`. It
observes the simulator's state (joints, endposes, poses of the task's bodies) instead of pictures, and acts by the same
end-effector waypoints. PPO bootstraps at the step limit; Stage II's episodes end there. A seed that has a result is not
run again. Writes results.csv, curves.csv and table.md into DIR.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import PPO

import envs
from aim_rl.evaluate import choose_checkpoint
from aim_rl.runs.statistics import describe
from envs.errors import UserError, exit_cleanly
from envs.files import read_json, write_json
from experiments.gym_env import (
    AgentConfig,
    Array,
    FlatEnv,
    FrozenModel,
    GymTask,
    Pool,
    check_training,
    chunk_env,
    decode,
    evaluate,
    learn,
)
from experiments.runs import begin, write_csv, write_table
from rewards import RewardConfig, Shaping

REACH, TURN = 0.1, 0.5  # m, rad: largest distance of a waypoint from the pose commanded at the start of the chunk
GAMMA = 0.97  # per decision of half a second
FURNITURE = ("table", "wall")


@dataclass
class BaselineConfig(AgentConfig):
    """SB3's PPO on state observations."""

    shapings: tuple[Shaping, ...] = ("sparse", "settled")
    """Dense rewards to compare (rewards/shaping.py)."""
    steps: int = 1_000_000
    """Environment (control) steps of each run."""
    rollout: int = 128
    """Decisions per process between two updates."""


class StateAndWaypoints(FlatEnv):
    """Observes the simulator's state; actions in [-1, 1] are the executed waypoints, relative to the commanded pose."""

    def __init__(self, env: gym.Env[Any, Any], frozen: FrozenModel) -> None:
        preset = frozen.model.preset
        self._waypoints, self._stride = -(-preset.execute // preset.stride), preset.stride
        super().__init__(env, self._state, self._waypoints * preset.action_dim)

    def _state(self, observation: dict[str, Any]) -> Array:
        bodies = self.env.get_wrapper_attr("scene").bodies  # privileged, of the tabletop
        bodies = [body.entity.pose for name, body in bodies.items() if name not in FURNITURE]
        parts = [observation[key] for key in ("qpos", "qpos_measured", "left_endpose", "right_endpose")]
        return np.concatenate([*parts, *(part for pose in bodies for part in (pose.p, pose.q))], dtype=np.float32)

    def chunk(self, observation: dict[str, Any], action: Array) -> Array:
        scale = torch.tensor(([REACH] * 3 + [TURN] * 3 + [0.5]) * 2)
        middle = torch.tensor(([0.0] * 6 + [0.5]) * 2)
        waypoints = torch.as_tensor(action).reshape(self._waypoints, -1) * scale + middle
        return decode(observation, waypoints, self._stride)[: self.env.get_wrapper_attr("execute")]


def make(setup: GymTask, workers: int, worker: int) -> StateAndWaypoints:
    frozen = FrozenModel(setup.checkpoint, setup.task, setup.wan)
    return StateAndWaypoints(chunk_env(setup, frozen, worker, workers), frozen)


def train(config: BaselineConfig, task: str, shaping: Shaping, seed: int, folder: Path) -> None:
    """Runs one training; writes result.json and curve.json into `folder`."""
    reward = RewardConfig(config.lambda_dense, config.lambda_sparse, shaping, GAMMA)
    checkpoint = choose_checkpoint(task, config.checkpoint)
    setup = GymTask(task, checkpoint, reward, config.step_limit, seed, config.wan)

    def ppo(pool: Pool) -> PPO:
        return PPO(
            "MlpPolicy", pool, n_steps=config.rollout, batch_size=config.rollout, gamma=GAMMA, seed=seed, device="cpu"
        )

    agent, steps = learn(config, setup, f"PPO {task} {shaping} {seed}", make, ppo, folder)
    test = make(dataclasses.replace(setup, step_limit=None), 1, 0)
    rate = evaluate(test, lambda state: agent.predict(state, deterministic=True)[0], config.episodes)
    test.close()
    write_json(folder / "result.json", {**rate, "environment_steps": steps})


def main() -> None:
    config = tyro.cli(BaselineConfig, description=__doc__)
    task = envs.resolve_task(config.task)
    check_training(task, config, config.shapings)
    if config.rollout < 2:
        raise UserError("--rollout must be at least 2")
    begin(task, config.out, config, "shapings", "seeds")
    results, curves = [], []
    for seed in config.seeds:
        for shaping in config.shapings:
            folder = config.out / f"{shaping}-{seed}"
            if not (folder / "result.json").exists():
                train(config, task, shaping, seed, folder)
            place = {"reward": shaping, "seed": seed}
            results.append(place | read_json(folder / "result.json"))
            curves += [place | episode for episode in read_json(folder / "curve.json")["episodes"]]
    write_csv(config.out / "results.csv", results)
    write_csv(config.out / "curves.csv", curves)
    rows = [[one["reward"], one["seed"], describe(one), one["environment_steps"]] for one in results]
    write_table(config.out / "table.md", ["reward", "seed", "success (Wilson 95 %)", "environment steps"], rows)


if __name__ == "__main__":
    exit_cleanly(main)

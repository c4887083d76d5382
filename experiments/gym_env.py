"""A task with the value-map reward as a plain Gymnasium environment, for libraries other than TorchRL."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import SubprocVecEnv
from torch import Tensor

from aim_rl.evaluate import choose_checkpoint
from aim_rl.model import AIM, WorldContext, proprio
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.model.pretrained import read_metadata
from aim_rl.model.waypoints import decode_waypoints
from aim_rl.rl.config import FinetuneConfig, RewardOptions, RolloutOptions
from aim_rl.rl.policy import OBSERVATION
from aim_rl.rollout import seeds
from aim_rl.rollout.environments import InstructionTokens
from aim_rl.rollout.worker import children_ignore_ctrl_c
from aim_rl.runs.folder import check_writable
from aim_rl.runs.progress import Bar, progress
from aim_rl.runs.statistics import SuccessRate, success_rate
from envs.backend import TABLETOP
from envs.files import write_json
from envs.tabletop.kinematics import tool_centre
from envs.tabletop.poses import matrix_from_quat
from envs.wrappers import ChunkEnv, EpisodePrefix, SeedSchedule
from rewards import RewardConfig, Shaping
from rewards.gym_wrapper import ValueMapReward

Array = NDArray[np.float32]


@dataclass(frozen=True)
class GymTask:
    """The task that an agent is trained on."""

    task: str
    checkpoint: Path
    reward: RewardConfig
    step_limit: int | None  # control steps per episode; None: RoboTwin's limit
    seed: int  # training seed; selects the scenes
    wan: Path | None = None  # as in `load_checkpoint`


Make = Callable[[GymTask, int, int], gym.Env[Any, Any]]


class FrozenModel:
    """Value maps and world context of single observations; the latest result is cached.

    Args:
        checkpoint: folder of a run or a checkpoint.
        task: RoboTwin's task name.
        wan: as in `load_checkpoint`.
    """

    def __init__(self, checkpoint: Path, task: str, wan: Path | None = None) -> None:
        torch.set_num_threads(1)
        self.model: AIM = load_checkpoint(checkpoint, task, wan)[0]
        self._latest: tuple[Array, tuple[Array, WorldContext, Tensor]] | None = None

    @torch.no_grad()
    def world(self, observation: dict[str, Any]) -> tuple[Array, WorldContext, Tensor]:
        """The head camera's maps [F, 3, h, w], the world context and the normalised proprioception [1, 46]."""
        if self._latest is None or self._latest[0] is not observation["head_camera"]:
            batch = {key: torch.as_tensor(observation[key])[None] for key in (*OBSERVATION, "text")}
            generator = torch.Generator().manual_seed(0)
            _, imagined, context = self.model.imagine(batch, batch["text"], generator)
            rows, columns = self.model.preset.head_tile
            maps = self.model.decode_maps(imagined)[0, ..., :rows, :columns].numpy()
            parts = maps, context, proprio(batch)
            self._latest = observation["head_camera"], parts
        return self._latest[1]

    def maps(self, observation: dict[str, Any]) -> Array:
        """The maps for `ValueMapReward`."""
        return self.world(observation)[0]

    def commanded_tcp(self, observation: dict[str, Any], action: Array) -> Array:
        """Commanded TCP positions [horizon, 2, 3] of endposes [h, 16]; the last pose is repeated up to the maps'
        horizon."""
        poses = action.reshape(len(action), 2, 8)
        rotation = np.array([[matrix_from_quat(pose[3:7]) for pose in step] for step in poses])
        points = tool_centre(torch.as_tensor(poses[..., :3]).double(), torch.as_tensor(rotation).double())
        rest = max(0, self.model.preset.horizon - len(action))
        return torch.cat([points, points[-1:].expand(rest, -1, -1)]).float().numpy()


class FlatEnv(gym.Wrapper[Any, Any, Any, Any]):
    """Flat vectors in and out, for agents of other libraries: `chunk` decodes actions, `observe` encodes observations.

    `info` gains `control_steps`, the number of executed control steps of the chunk.

    Args:
        env: from `chunk_env`.
        observe: observation -> f32 [n].
        action_size: numbers of an action, each in [-1, 1].
    """

    def __init__(self, env: gym.Env[Any, Any], observe: Callable[[dict[str, Any]], Array], action_size: int) -> None:
        super().__init__(env)
        self._observe = observe
        size = len(observe(env.reset()[0]))
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (action_size,), np.float32)
        self._latest: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._latest, info = self.env.reset(seed=seed, options=options)
        return self._observe(self._latest), info

    def step(self, action: Array) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._latest, reward, terminated, truncated, info = self.env.step(self.chunk(self._latest, action))
        info["control_steps"] = int(self._latest["executed"].sum())
        return self._observe(self._latest), float(reward), terminated, truncated, info

    def chunk(self, observation: dict[str, Any], action: Array) -> Array:
        """Decodes an action in [-1, 1] into a chunk of endposes [h, 16]."""
        raise NotImplementedError


def chunk_env(setup: GymTask, frozen: FrozenModel, worker: int, workers: int) -> gym.Env[Any, Any]:
    """Environment with chunks of endposes as actions and the composed reward; workers share the training seeds."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread per process
    preset = frozen.model.preset
    base = TABLETOP.make(setup.task, "clean", preset.head_size, preset.wrist_size, action_mode="ee")
    env = InstructionTokens(ChunkEnv(base, preset.execute, setup.step_limit), preset, frozen.model.text.tokenize)
    rewarded = ValueMapReward(env, frozen.maps, frozen.commanded_tcp, setup.reward)
    first = seeds.reinforcement(setup.seed) + worker
    return SeedSchedule(rewarded, map(EpisodePrefix, itertools.count(first, workers)))


def decode(observation: dict[str, Any], waypoints: Tensor, stride: int) -> Array:
    """Waypoints [n, 14] -> endposes [n * stride, 16]."""
    actions, _ = decode_waypoints(torch.as_tensor(observation["qpos"]), waypoints, len(waypoints) * stride)
    return actions.float().numpy()


class Pool(SubprocVecEnv):
    """Ignores the agent's seed, which would select scenes of Stage I's data; every environment has its seed
    schedule."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        return [None] * self.num_envs


@dataclass
class AgentConfig:
    """Flags of a Stable-Baselines3 agent."""

    task: str
    """RoboTwin's task name."""
    out: Path
    """Folder of the results."""
    checkpoint: Path | None = None
    """Stage I run or checkpoint; the shipped one by default."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers; by default the one that the checkpoint names."""
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


def check_training(task: str, config: AgentConfig, shapings: Sequence[Shaping]) -> None:
    """Raises UserError before the first run if an agent cannot be trained and evaluated with these flags."""
    TABLETOP.require(task, "clean")
    rollout = RolloutOptions(step_limit=config.step_limit)
    for shaping, seed in itertools.product(shapings, config.seeds):
        FinetuneConfig(
            task=task,
            seed=seed,
            workers=config.workers,
            evaluation_episodes=config.episodes,
            rollout=rollout,
            reward=RewardOptions(shaping=shaping),
        )
    read_metadata(choose_checkpoint(task, config.checkpoint), task)


@contextmanager
def vectorised(make: Callable[[int], gym.Env[Any, Any]], workers: int) -> Iterator[Pool]:
    """Runs `make(worker)` in processes that end with the context, also after Ctrl-C."""
    with children_ignore_ctrl_c():
        pool = Pool([functools.partial(make, worker) for worker in range(workers)], start_method="spawn")
    try:
        yield pool
    finally:
        for process in pool.processes:
            process.kill()
            process.join()


class Curve(BaseCallback):
    """Records every finished episode: control steps of all environments so far, and success.

    Args:
        bar: progress bar to update.
    """

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self.steps = 0
        self.episodes: list[dict[str, int]] = []
        self._bar = bar

    def _on_step(self) -> bool:
        for info, done in zip(self.locals["infos"], self.locals["dones"], strict=True):
            self.steps += info["control_steps"]
            if done:
                self.episodes.append({"environment_steps": self.steps, "success": int(info["is_success"])})
                latest = [episode["success"] for episode in self.episodes[-100:]]
                self._bar.update(self.steps, f"success {sum(latest) / len(latest):.2f} in the last {len(latest)}")
        return True


def learn(
    config: AgentConfig, setup: GymTask, title: str, make: Make, agent: Callable[[Pool], BaseAlgorithm], folder: Path
) -> tuple[BaseAlgorithm, int]:
    """Trains an agent and writes curve.json into `folder`.

    Args:
        config: flags.
        setup: the task.
        title: title of the progress bar.
        make: (setup, workers, worker) -> environment.
        agent: vectorised environment -> agent.
        folder: folder of this run; must be writable.

    Returns:
        The agent and its environment (control) steps.
    """
    check_writable(folder / "result.json")
    with (
        vectorised(functools.partial(make, setup, config.workers), config.workers) as pool,
        progress(title, config.steps, "steps") as bar,
    ):
        curve = Curve(bar)
        learner = agent(pool)
        learner.learn(config.steps // pool.get_attr("execute", [0])[0], callback=curve)
    write_json(folder / "curve.json", {"episodes": curve.episodes})
    return learner, curve.steps


def evaluate(env: gym.Env[Any, Any], act: Callable[[Array], Array], episodes: int) -> SuccessRate:
    """Success on the held-out seeds."""
    successes = 0
    with progress("evaluate", episodes, "episodes") as bar:
        for number in range(episodes):
            observation, _ = env.reset(seed=seeds.TEST + number)
            ended, info = False, {}
            while not ended:
                observation, _, terminated, truncated, info = env.step(act(observation))
                ended = terminated or truncated
            successes += bool(info["is_success"])
            bar.update(number + 1, f"{successes} solved")
    return success_rate(successes, episodes)

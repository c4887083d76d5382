"""The baselines that train little or nothing: what they execute, and each command end to end at the tiny size."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from tensordict import TensorDict

from aim_rl.model import AIM, PRESETS
from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.rl.policy import AimPolicy
from envs.errors import UserError, exit_cleanly
from experiments import baselines_sb3, dsrl, guided_sampling
from experiments.guided_sampling import BestOfN
from experiments.gym_env import FrozenModel, GymTask, vectorised
from experiments.runs import begin
from rewards import RewardConfig, tcp_response

from ..aim_rl.pretend_gpu import CUDA, PretendedGpu

TINY = PRESETS["tiny"]


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: AIM) -> Path:
    save_checkpoint(tmp_path / "stage1", tiny_model, {"task": "click_bell", "stage": 1})
    return tmp_path / "stage1"


@pytest.fixture
def seen(observations: Callable[..., TensorDict]) -> TensorDict:
    """Five observations with a head camera above the table."""
    batch = observations(5)
    height, width = TINY.head_size
    intrinsic = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    extrinsic = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3.0]])
    batch["head_camera_intrinsic"] = intrinsic.expand(5, 3, 3)
    batch["head_camera_extrinsic"] = extrinsic.expand(5, 3, 4)
    return batch


def test_one_candidate_is_the_policy_itself(tiny_model: AIM, seen: TensorDict) -> None:
    plain = AimPolicy(tiny_model, TINY.execute)(seen.clone())
    guided = BestOfN(tiny_model, TINY.execute, 1, 1.0)(seen.clone())
    torch.testing.assert_close(guided["action"], plain["action"])


def test_candidates_on_a_gpu(tiny_model: AIM, seen: TensorDict) -> None:
    expected = BestOfN(tiny_model, TINY.execute, 4, 1.0)(seen.clone())
    with PretendedGpu():
        guided = BestOfN(tiny_model.to(CUDA), TINY.execute, 4, 1.0)(seen.clone())
    assert guided["action"].device.type == "cpu"
    torch.testing.assert_close(guided["action"], expected["action"])


def test_more_candidates_please_the_map_more(tiny_model: AIM, seen: TensorDict) -> None:
    def response(acted: TensorDict) -> torch.Tensor:
        camera = acted["head_camera_intrinsic"], acted["head_camera_extrinsic"], TINY.head_size
        return tcp_response(acted["value_map"], acted["commanded_tcp"], *camera)[:, : TINY.execute].mean(1)

    one, many = (response(BestOfN(tiny_model, TINY.execute, n, 3.0)(seen.clone())) for n in (1, 32))
    assert (many >= one).all() and (many > one).any()


def command(module: ModuleType, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__name__, "--task", "click_bell", *map(str, arguments)])
        exit_cleanly(module.main)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_noise_of_zero_is_the_policy_as_it_is_evaluated(checkpoint: Path, seen: TensorDict) -> None:
    """DSRL's action 0 must be what Stage I does, or its baseline is another policy."""
    frozen = FrozenModel(checkpoint, "click_bell")
    observation = {key: seen[0][key].numpy() for key in seen.keys()}  # noqa: SIM118
    agent = dsrl.NoiseActions.__new__(dsrl.NoiseActions)
    agent._frozen = frozen
    chunk = agent.chunk(observation, np.zeros(TINY.n_waypoints * TINY.action_dim, np.float32))
    plain = AimPolicy(frozen.model, TINY.execute)(seen[:1].clone())
    np.testing.assert_allclose(chunk, plain["action"][0], atol=1e-5)
    commanded_tcp = frozen.commanded_tcp(observation, chunk)
    assert commanded_tcp.shape == (TINY.horizon, 2, 3)
    np.testing.assert_allclose(commanded_tcp[: TINY.execute], plain["commanded_tcp"][0, : TINY.execute], atol=1e-4)
    np.testing.assert_allclose(frozen.maps(observation), plain["value_map"][0], atol=1e-5)


class Steered(gym.Env[Any, Any]):
    """Succeeds, and ends, when a few of the noise's many numbers are above 0 on average."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (40,), np.float32)

    def __init__(self) -> None:
        self.noise: list[Any] = []
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return np.ones(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.noise.append(dsrl.BOUND * action)
        self.steps += 1
        solved = bool(self.noise[-1][:8].mean() > 0.3)
        return np.ones(2, np.float32), float(solved), solved, self.steps == 9 and not solved, {}


def test_steering_begins_with_the_noise_of_stage_one_and_learns_to_succeed() -> None:
    """Not to last: SAC, as the authors have it, found that an episode which goes on is worth more (docs/rewards.md)."""
    env = Steered()
    dsrl.steering(DummyVecEnv([lambda: env]), 0).learn(10 * dsrl.ROLLOUT)
    noise = np.array(env.noise[: dsrl.ROLLOUT])
    assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(1, abs=0.05)
    mean = np.array(env.noise)[:, :8].mean(1)
    first, last = mean[: dsrl.ROLLOUT], mean[-dsrl.ROLLOUT :]
    assert (first > 0.3).mean() < 0.3 and (last > 0.3).mean() > 0.6  # of the decisions succeed


class SeedShown(gym.Env[Any, Any]):
    """Its observation is the seed of its reset, -1 for none."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, worker: int) -> None:
        self.worker = worker

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.array([-1 if seed is None else seed], np.float32), {}


def test_an_agents_seed_chooses_no_scenes_and_ctrl_c_ends_its_processes() -> None:
    """Scenes come from the schedule: seeds 0, 1, 2 are those of Stage I's demonstrations."""
    processes = []
    with pytest.raises(KeyboardInterrupt), vectorised(SeedShown, 2) as pool:
        PPO("MlpPolicy", pool, seed=0, device="cpu")
        assert pool.reset().tolist() == [[-1], [-1]]
        processes = pool.processes
        pool.remotes[0].send(("step", None))  # whose answer nobody takes
        pool.waiting = True
        raise KeyboardInterrupt
    assert len(processes) == 2 and not any(process.is_alive() for process in processes)


def test_results_of_other_settings_share_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(task: str = "click_bell", iterations: str = "4", **settings: Any) -> None:
        passed_on = ["--iterations", iterations]
        monkeypatch.setattr(sys, "argv", ["dsrl", "--", *passed_on])
        begin(task, tmp_path, dsrl.DsrlConfig(task, tmp_path, **settings), "seeds", passed_on=passed_on)

    again(lambda_dense=0.3, seeds=(0,))
    again(lambda_dense=0.3, seeds=(0, 1))
    with pytest.raises(UserError, match=r"holds results of --lambda-dense 0\.3; repeat with that"):
        again()
    with pytest.raises(UserError, match="holds results of -- --iterations 4; repeat"):
        again(iterations="6", lambda_dense=0.3)
    with pytest.raises(UserError, match="holds results of --task click_bell"):
        again("stack_blocks_two", lambda_dense=0.3)
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["wan"]  # of a version that had no such flag
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="holds results of --wan None"):
        again(lambda_dense=0.3, wan=Path("W"))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="is not of this experiment"):
        again()


@pytest.mark.parametrize("module", [baselines_sb3, dsrl])
def test_a_checkpoint_that_is_not_there_is_a_sentence(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--task", "click_bell", "--out", str(tmp_path / "o"), "--checkpoint", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    with pytest.raises(UserError, match="none"):
        module.main()
    monkeypatch.setattr(sys, "argv", [module.__name__, "--task", "stack_blocks_two", "--out", "o", "--episodes", "0"])
    with pytest.raises(UserError, match="at least 1"):
        module.main()


@pytest.mark.parametrize(
    ("module", "flags"),
    [(baselines_sb3, ["--shapings", "sparse", "privileged"]), (dsrl, ["--shaping", "privileged"])],
)
def test_a_progress_that_the_task_does_not_measure_is_no_reward(
    module: ModuleType, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--task", "beat_block_hammer", "--out", str(tmp_path / "o"), *flags]
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    with pytest.raises(UserError, match="beat_block_hammer measures no progress"):
        module.main()


@pytest.mark.slow
def test_the_state_agent_moves_the_arms_it_is_told_to(checkpoint: Path) -> None:
    """An action of one arm's +x waypoint moves that arm's commanded tool and no other."""
    setup = GymTask("click_bell", checkpoint, RewardConfig(0.2, 1.0, "privileged"), 16, 0)
    env = baselines_sb3.make(setup, 1, 0)
    state, _ = env.reset(seed=3)
    action = np.zeros(env.action_space.shape, np.float32)  # pyright: ignore
    action[[6, 20]] = action[[13, 27]] = 1.0  # grippers stay open
    action[[0, 14]] = 0.5  # 5 cm
    moved, reward, _, _, info = env.step(action)
    assert info["control_steps"] == TINY.execute and np.isfinite(reward)
    left, right = slice(28, 31), slice(35, 38)  # measured endposes, behind two joint vectors
    assert moved[left][0] - state[left][0] == pytest.approx(0.05, abs=0.02)
    assert np.abs(moved[right] - state[right]).max() < 0.01
    env.close()


@pytest.mark.slow
def test_guided_sampling_end_to_end(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "guided"
    arguments = ["--checkpoint", checkpoint, "--out", out, "--episodes", 1, "--workers", 1, "--candidates", 1, 2]
    command(guided_sampling, *arguments)
    assert [line["candidates"] for line in lines(out / "results.csv")] == ["1", "2"]
    (out / "best_of_2.json").write_text(
        (out / "best_of_2.json").read_text().replace('"successes": 0', '"successes": 1')
    )
    command(guided_sampling, *arguments)
    assert lines(out / "results.csv")[1]["successes"] == "1"  # it was not run again


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "runs", "more"),
    [(baselines_sb3, ["settled-0"], ["--shapings", "settled", "--rollout", 4]), (dsrl, ["seed-0"], [])],
    ids=["baselines_sb3", "dsrl"],
)
def test_an_agent_of_stable_baselines_end_to_end(
    tmp_path: Path,
    checkpoint: Path,
    module: ModuleType,
    runs: list[str],
    more: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dsrl, "ROLLOUT", 4)
    out = tmp_path / "out"
    sizes = ["--steps", 96, "--step-limit", 24, "--episodes", 1, "--workers", 1, "--seeds", 0, *more]
    arguments = ["--checkpoint", checkpoint, "--out", out, *sizes]
    command(module, *arguments)
    result = json.loads((out / runs[0] / "result.json").read_text())
    assert 90 <= result["environment_steps"] <= 200
    assert len(lines(out / "curves.csv")) >= 3  # episodes of three decisions
    assert "environment steps" in (out / "table.md").read_text()
    stamp = (out / runs[0] / "result.json").stat().st_mtime_ns
    command(module, *arguments)
    assert (out / runs[0] / "result.json").stat().st_mtime_ns == stamp

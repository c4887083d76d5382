"""Both adapters, on one scripted episode, against rewards computed here in plain numpy."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import EnvBase, TransformedEnv
from torchrl.envs.utils import check_env_specs

from rewards import RewardConfig
from rewards.gym_wrapper import ValueMapReward
from rewards.torchrl_transform import ValueMapRewardTransform

H, W = 48, 64
MAP_H, MAP_W, FRAMES = 24, 32, 2
K = np.array([[71.7, 0, W / 2], [0, 71.7, H / 2], [0, 0, 1]], np.float32)
TILT = np.deg2rad(60.0)  # camera above the table, looking down and a little forward
ROTATION = np.array([[1, 0, 0], [0, -np.sin(TILT), -np.cos(TILT)], [0, np.cos(TILT), -np.sin(TILT)]])
EXTRINSIC = np.concatenate([ROTATION, ROTATION @ [[0.0], [0.6], [-1.2]]], 1).astype(np.float32)
CONFIG = RewardConfig(lambda_dense=0.3, lambda_sparse=7.0)
SUCCESS_STEP = 21  # 0-based control step; ends the second chunk of 16, the sixth of 4, early in both


def smooth_maps(rng: np.random.Generator) -> np.ndarray:
    """[F, 3, MAP_H, MAP_W] wide random blobs, so that most points in view answer."""
    v, u = np.mgrid[:MAP_H, :MAP_W] + 0.5
    centre = rng.uniform([4, 4], [MAP_W - 4, MAP_H - 4], (FRAMES, 3, 1, 1, 2))
    distance = (u - centre[..., 0]) ** 2 + (v - centre[..., 1]) ** 2
    return np.exp(-distance / (2 * 6.0**2)).astype(np.float32)


def script(h: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps and actions [h, 6] (left and right target, m, world) of every decision until success."""
    rng = np.random.default_rng(h)
    decisions = SUCCESS_STEP // h + 1
    low, high = [-0.3, -0.6, 0.0] * 2, [0.3, 0.2, 1.4] * 2  # some out of the frame, some behind
    actions = [rng.uniform(low, high, (h, 6)).astype(np.float32) for _ in range(decisions)]
    return [smooth_maps(rng) for _ in range(decisions)], actions


def bilinear(image: np.ndarray, u: float, v: float) -> float:
    x, y = u - 0.5, v - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    value = 0.0
    for yi, wy in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
        for xi, wx in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            value += wy * wx * image[np.clip(yi, 0, image.shape[0] - 1), np.clip(xi, 0, image.shape[1] - 1)]
    return value


def rewards_by_hand(maps: np.ndarray, action: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Dense and sparse reward [h] of one chunk."""
    h = len(action)
    dense, sparse = np.zeros(h), np.zeros(h)
    for j in range(h):
        if start + j > SUCCESS_STEP:
            break
        frame = next(k for k in range(FRAMES) if (j + 1) <= (k + 1) * h / FRAMES)
        for arm in range(2):
            x, y, z = EXTRINSIC.astype(float) @ [*action[j, 3 * arm : 3 * arm + 3], 1.0]
            if z <= 0:
                continue
            u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
            if 0 <= u < W and 0 <= v < H:
                value = bilinear(maps[frame, arm], u * MAP_W / W, v * MAP_H / H)
                dense[j] = max(dense[j], value)
        sparse[j] = float(start + j == SUCCESS_STEP)
    return dense, sparse


def outcome(start: np.ndarray, h: int) -> tuple[np.ndarray, np.ndarray]:
    """step_success and executed [..., h]. A careless env repeats success after the end."""
    steps = start[..., None] + np.arange(h)
    return steps >= SUCCESS_STEP, steps <= SUCCESS_STEP


class ToyGym(gym.Env):
    """Takes chunks [h, 6], or single actions [6] for h = None; succeeds at SUCCESS_STEP."""

    def __init__(self, h: int | None) -> None:
        self.h = h
        self.action_space = gym.spaces.Box(-2, 2, (6,) if h is None else (h, 6), np.float32)
        self.observation_space = gym.spaces.Dict(
            head_camera=gym.spaces.Box(0, 255, (H, W, 3), np.uint8),
            head_camera_intrinsic=gym.spaces.Box(-np.inf, np.inf, (3, 3), np.float32),
            head_camera_extrinsic=gym.spaces.Box(-np.inf, np.inf, (3, 4), np.float32),
            decision=gym.spaces.Box(0, 1000, (1,), np.int64),
        )

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "head_camera": np.zeros((H, W, 3), np.uint8),
            "head_camera_intrinsic": K,
            "head_camera_extrinsic": EXTRINSIC,
            "decision": np.array([self.decision]),
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.decision = 0
        return self._observation(), {}

    def step(self, action):
        h = self.h or 1
        success, executed = outcome(np.array(self.decision * h), h)
        self.decision += 1
        done = bool((success & executed).any())
        info = {"is_success": np.bool_(done)}
        if self.h is not None:
            info |= {"step_success": success, "executed": executed}
        return self._observation(), float(done), done, False, info


class ToyTorchRL(EnvBase):
    """The same episode for TorchRL; may show maps and landing points itself, for the spec check."""

    def __init__(self, h: int, with_maps: bool = False, batch_size: tuple[int, ...] = ()) -> None:
        super().__init__(batch_size=batch_size)
        self.h = h
        self.action_spec = Unbounded((*batch_size, h, 6))
        self.reward_spec = Unbounded((*batch_size, 1))
        entries: dict = {
            "head_camera_intrinsic": Unbounded((*batch_size, 3, 3)),
            "head_camera_extrinsic": Unbounded((*batch_size, 3, 4)),
            "decision": Unbounded((*batch_size, 1), dtype=torch.int64),
            "step_success": Unbounded((*batch_size, h), dtype=torch.bool),
            "executed": Unbounded((*batch_size, h), dtype=torch.bool),
        }
        if with_maps:
            entries["value_map"] = Bounded(0, 1, (*batch_size, FRAMES, 3, MAP_H, MAP_W))
            entries["landing"] = Unbounded((*batch_size, h, 2, 3))
        self.observation_spec = Composite(entries, shape=batch_size)

    def _observe(self, decision: torch.Tensor) -> TensorDict:
        out = self.observation_spec.rand()
        out["head_camera_intrinsic"] = torch.tensor(K).expand(*self.batch_size, 3, 3).clone()
        out["head_camera_extrinsic"] = torch.tensor(EXTRINSIC).expand(*self.batch_size, 3, 4).clone()
        out["decision"] = decision
        return out

    def _reset(self, tensordict):
        return self._observe(torch.zeros(*self.batch_size, 1, dtype=torch.int64))

    def _step(self, tensordict):
        decision = tensordict["decision"]
        out = self._observe(decision + 1)
        success, executed = outcome((decision[..., 0] * self.h).numpy(), self.h)
        out["step_success"], out["executed"] = torch.as_tensor(success), torch.as_tensor(executed)
        done = torch.as_tensor(success & executed).any(-1, keepdim=True)
        out["reward"], out["done"], out["terminated"] = done.float(), done, done.clone()
        return out

    def _set_seed(self, seed):
        torch.manual_seed(0 if seed is None else seed)


def scripted_policy(maps: list[np.ndarray], actions: list[np.ndarray]) -> TensorDictModule:
    """Writes the scripted action of a decision with its map and landing points."""
    stacked_maps, stacked_actions = torch.tensor(np.stack(maps)), torch.tensor(np.stack(actions))

    def act(decision: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        index = decision[..., 0]
        action = stacked_actions[index]
        return action, stacked_maps[index], action.unflatten(-1, (2, 3))

    return TensorDictModule(act, ["decision"], ["action", "value_map", "landing"])


def transformed(env: EnvBase) -> TransformedEnv:
    return TransformedEnv(env, ValueMapRewardTransform(CONFIG, (H, W)))


@pytest.mark.parametrize("h", [None, 1, 4, 16])
def test_gym_wrapper_pays_the_hand_computed_rewards(h):
    maps, actions = script(h or 1)
    env = ValueMapReward(
        ToyGym(h),
        maps=lambda observation: maps[observation["decision"][0]],
        landing=lambda _, action: action.reshape(-1, 2, 3),
        config=CONFIG,
    )
    env.reset(seed=0)
    for decision, action in enumerate(actions):
        dense, sparse = rewards_by_hand(maps[decision], action, decision * (h or 1))
        _, reward, terminated, _, info = env.step(action[0] if h is None else action)
        assert info["reward_dense"].dtype == info["reward_sparse"].dtype == np.float32
        np.testing.assert_allclose(info["reward_dense"], dense, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(info["reward_sparse"], sparse)
        expected = CONFIG.lambda_dense * dense.sum() + CONFIG.lambda_sparse * sparse.sum()
        assert reward == pytest.approx(expected, abs=1e-6)
        assert terminated == (decision == len(actions) - 1)
    assert sparse.sum() == 1


@pytest.mark.parametrize("h", [1, 4, 16])
def test_transform_pays_the_hand_computed_rewards(h):
    maps, actions = script(h)
    rollout = transformed(ToyTorchRL(h)).rollout(1000, policy=scripted_policy(maps, actions))
    assert len(rollout) == len(actions)
    by_hand = [rewards_by_hand(m, a, i * h) for i, (m, a) in enumerate(zip(maps, actions, strict=True))]
    dense, sparse = np.stack([d for d, _ in by_hand]), np.stack([s for _, s in by_hand])
    assert (dense > 0.1).any() and (dense == 0).any()  # the script tries both
    np.testing.assert_allclose(rollout["next", "reward_dense"], dense, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(rollout["next", "reward_sparse"], sparse)
    total = (CONFIG.lambda_dense * dense + CONFIG.lambda_sparse * sparse).sum(1, keepdims=True)
    np.testing.assert_allclose(rollout["next", "reward"], total, atol=1e-6, rtol=0)

    # The same rewards from stored transitions.
    stored = rollout.exclude(("next", "reward"), ("next", "reward_dense"), ("next", "reward_sparse"))
    again = ValueMapRewardTransform(CONFIG, (H, W))(stored)
    assert torch.equal(again["next", "reward"], rollout["next", "reward"])


def test_transform_rewards_survive_a_collector():
    maps, actions = script(4)
    policy = scripted_policy(maps, actions)
    env = transformed(ToyTorchRL(4, batch_size=(2,)))
    collector = Collector(
        env,
        policy,
        frames_per_batch=2 * len(actions),
        total_frames=2 * len(actions),
        auto_register_policy_transforms=False,
    )
    batch = next(iter(collector))
    collector.shutdown()
    for row in batch:
        for i, (m, a) in enumerate(zip(maps, actions, strict=True)):
            dense, sparse = rewards_by_hand(m, a, i * 4)
            np.testing.assert_allclose(row["next", "reward_dense"][i], dense, atol=1e-6, rtol=0)
            np.testing.assert_array_equal(row["next", "reward_sparse"][i], sparse)


@pytest.mark.parametrize("batch_size", [(), (3,)])
def test_torchrl_specs_hold(batch_size):
    env = transformed(ToyTorchRL(4, with_maps=True, batch_size=batch_size))
    check_env_specs(env)
    assert env.full_reward_spec["reward_dense"].shape == (*batch_size, 4)

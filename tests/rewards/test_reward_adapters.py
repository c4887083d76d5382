"""Both adapters, on one scripted episode, against rewards computed here in plain numpy."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from rewards import SHAPINGS, MapSource, RewardConfig, Shaping
from rewards.gym_wrapper import ValueMapReward
from rewards.torchrl_transform import ValueMapRewardTransform

H, W = 48, 64
MAP_H, MAP_W, FRAMES = 24, 32, 2
K = np.array([[71.7, 0, W / 2], [0, 71.7, H / 2], [0, 0, 1]], np.float32)
TILT = np.deg2rad(60.0)  # camera above the table, looking down and a little forward
ROTATION = np.array([[1, 0, 0], [0, -np.sin(TILT), -np.cos(TILT)], [0, np.cos(TILT), -np.sin(TILT)]])
EXTRINSIC = np.concatenate([ROTATION, ROTATION @ [[0.0], [0.6], [-1.2]]], 1).astype(np.float32)
GAMMA = 0.9
SUCCESS_STEP = 21  # 0-based control step; ends the second chunk of 16, the sixth of 4, early in both


def smooth_maps(rng: np.random.Generator) -> np.ndarray:
    """[F, 3, MAP_H, MAP_W] wide random blobs, so that most points in view answer."""
    v, u = np.mgrid[:MAP_H, :MAP_W] + 0.5
    centre = rng.uniform([4, 4], [MAP_W - 4, MAP_H - 4], (FRAMES, 3, 1, 1, 2))
    distance = (u - centre[..., 0]) ** 2 + (v - centre[..., 1]) ** 2
    return np.exp(-distance / (2 * 6.0**2)).astype(np.float32)


def script(h: int, span: int = 1) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps and actions [span * h, 6] (left and right target, m, world) of every decision until success.

    The maps span all of an action, of which the environment executes the first h control steps.
    """
    rng = np.random.default_rng(h)
    decisions = SUCCESS_STEP // h + 1
    low, high = [-0.3, -0.6, 0.0] * 2, [0.3, 0.2, 1.4] * 2  # some out of the frame, some behind
    actions = [rng.uniform(low, high, (span * h, 6)).astype(np.float32) for _ in range(decisions)]
    maps = [smooth_maps(rng) for _ in range(decisions)]
    for i in range(1, decisions, 3):
        maps[i] = 0.8 * maps[i - 1]  # the event goes on
    return maps, actions


def bilinear(image: np.ndarray, u: float, v: float) -> float:
    x, y = u - 0.5, v - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    value = 0.0
    for yi, wy in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
        for xi, wx in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            value += wy * wx * image[np.clip(yi, 0, image.shape[0] - 1), np.clip(xi, 0, image.shape[1] - 1)]
    return value


def respond(image: np.ndarray, point: np.ndarray) -> float:
    """Value of a map at the projection of a point (m, world); 0 out of view."""
    x, y, z = EXTRINSIC.astype(float) @ [*point, 1.0]
    if z <= 0:
        return 0.0
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    return bilinear(image, u * MAP_W / W, v * MAP_H / H) if 0 <= u < W and 0 <= v < H else 0.0


def episode_by_hand(
    maps: list[np.ndarray], actions: list[np.ndarray], shaping: Shaping, solved: bool = True, span: int = 1
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Dense and sparse reward [h] of every chunk, counted control step by control step up to SUCCESS_STEP."""
    n, decisions, last = len(actions[0]), len(actions), SUCCESS_STEP
    h = n // span
    ended = {1: 1, 2: 0}[span]  # which of the two frames shows the end of the executed steps
    rewards = [(np.zeros(h), np.zeros(h)) for _ in actions]
    seen: list[float] = []  # responses of all control steps so far
    event, best, held = 0, 0.0, maps[0][0]
    for i, action in enumerate(actions):
        dense, sparse = rewards[i]
        arm, v, u = np.unravel_index(held[:2].argmax(), held[:2].shape)
        if maps[i][0][arm, v, u] < held[arm, v, u] / 2:
            event, best, held = event + 1, 0.0, maps[i][0]
        before = maps[i - 1][ended] if i else maps[0][0]
        after = maps[i + 1][0] if i + 1 < decisions else before
        for j in range(min(h, last + 1 - i * h)):
            points = action[j].reshape(2, 3)
            frame = next(k for k in range(FRAMES) if (j + 1) <= (k + 1) * n / FRAMES)
            response = max(respond(maps[i][frame, arm], points[arm]) for arm in range(2))
            success = solved and i * h + j == last
            sparse[j] = float(success)
            falls = [respond(before[arm], points[arm]) - respond(after[arm], points[arm]) for arm in range(2)]
            mean_before = np.mean(seen) if seen else 0.0
            seen.append(response)
            match shaping:
                case "additive":
                    dense[j] = response
                case "length_normalised":
                    dense[j] = np.mean(seen) - mean_before
                case "best_so_far":
                    dense[j], best = max(0.0, response - best), max(best, response)
                case "gated":
                    dense[j] = np.mean(seen) * success
                case "settled":
                    dense[j] = max(falls, key=abs) if i + 1 < decisions else 0.0
                case "privileged":
                    dense[j] = progress(i * h + j + 1) - progress(i * h + j)
        if shaping == "settled":
            dense[np.abs(dense) < np.abs(dense).max()] = 0.0
        if shaping == "potential":
            j = min(h, last + 1 - i * h) - 1
            dense[j] = GAMMA * potential_by_hand(maps, actions, i + 1, h) - potential_by_hand(maps, actions, i, h)
    return rewards


def held_by_hand(maps: list[np.ndarray]) -> list[np.ndarray]:
    """The map [3, MAP_H, MAP_W] with which the event of each decision began."""
    held = [maps[0][0]]
    for now in maps[1:]:
        arm, v, u = np.unravel_index(held[-1][:2].argmax(), held[-1][:2].shape)
        held.append(now[0] if now[0][arm, v, u] < held[-1][arm, v, u] / 2 else held[-1])
    assert 1 < len({id(one) for one in held}) < len(held)  # the script tries both
    return held


def potential_by_hand(maps: list[np.ndarray], actions: list[np.ndarray], i: int, h: int) -> float:
    """What map i says of where the tool was commanded to when it was predicted; 0 at both ends of an episode."""
    if i in (0, len(actions)):
        return 0.0
    points = actions[i - 1][h - 1].reshape(2, 3)
    return max(respond(maps[i][0, arm], points[arm]) for arm in range(2))


def progress(steps: int | np.ndarray) -> np.ndarray:
    """A task's progress after a number of control steps: up, down a little, up."""
    return np.asarray(0.3 + 0.02 * steps - 0.1 * np.sin(steps), np.float32)


def outcome(start: np.ndarray, h: int, last: int = SUCCESS_STEP) -> tuple[np.ndarray, np.ndarray]:
    """step_success and executed [..., h]. A careless env repeats success after the end."""
    steps = start[..., None] + np.arange(h)
    return steps >= last, steps <= last


class ToyGym(gym.Env):
    """Takes chunks [h, 6], or single actions [6] for h = None; ends at `last`, by success or truncation."""

    def __init__(self, h: int | None, solved: bool, last: int = SUCCESS_STEP) -> None:
        self.h, self.solved, self.last = h, solved, last
        self.action_space = gym.spaces.Box(-2, 2, (6,) if h is None else (h, 6), np.float32)
        self.observation_space = gym.spaces.Dict(
            head_camera=gym.spaces.Box(0, 255, (H, W, 3), np.uint8),
            head_camera_intrinsic=gym.spaces.Box(-np.inf, np.inf, (3, 3), np.float32),
            head_camera_extrinsic=gym.spaces.Box(-np.inf, np.inf, (3, 4), np.float32),
            decision=gym.spaces.Box(0, 1000, (1,), np.int64),
            progress=gym.spaces.Box(-np.inf, np.inf, (h or 1,), np.float32),
        )

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "head_camera": np.zeros((H, W, 3), np.uint8),
            "head_camera_intrinsic": K,
            "head_camera_extrinsic": EXTRINSIC,
            "decision": np.array([self.decision]),
            "progress": self.progress,
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.decision, self.progress = 0, np.full(self.h or 1, progress(0))
        return self._observation(), {}

    def step(self, action):
        h = self.h or 1
        success, executed = outcome(np.array(self.decision * h), h, self.last)
        self.progress = progress(self.decision * h + 1 + np.arange(h))
        self.decision += 1
        ended, success = bool((success & executed).any()), success & self.solved
        done = ended and self.solved
        info = {"is_success": np.bool_(done)}
        if self.h is not None:
            info |= {"step_success": success, "executed": executed}
        return self._observation(), float(done), done, ended and not done, info


def rollout(h: int, solved: bool, span: int = 1) -> TensorDict:
    """The scripted episode as a collector hands it over, [T], with two padded decisions behind its end."""
    maps, actions = script(h, span)
    taken, length = len(actions), len(actions) + 2
    success, executed = outcome(np.arange(length) * h, h)
    commanded_tcp = np.zeros((length, span * h, 2, 3), np.float32)
    commanded_tcp[:taken] = np.stack(actions).reshape(taken, span * h, 2, 3)
    stored = np.ones((length, FRAMES, 3, MAP_H, MAP_W), np.float32)
    stored[:taken] = np.stack(maps)
    arrays = {
        "value_map": stored,
        "commanded_tcp": commanded_tcp,
        "head_camera_intrinsic": np.repeat(K[None], length, 0),
        "head_camera_extrinsic": np.repeat(EXTRINSIC[None], length, 0),
        "progress": progress(np.maximum(0, np.arange(1 - h, 1)[None] + h * np.arange(length)[:, None])),
        ("collector", "mask"): np.arange(length) < taken,
        ("next", "progress"): progress(np.arange(1, h + 1)[None] + h * np.arange(length)[:, None]),
        ("next", "step_success"): success & solved,
        ("next", "executed"): executed,
    }
    tensordict = TensorDict({}, [length])
    for key, array in arrays.items():
        tensordict[key] = torch.from_numpy(array)
    return tensordict


@pytest.mark.parametrize("shaping", SHAPINGS)
@pytest.mark.parametrize(("h", "span"), [(None, 1), (1, 1), (4, 1), (16, 1), (4, 2)])
@pytest.mark.parametrize("solved", [True, False], ids=["success", "truncation"])
def test_gym_wrapper_pays_the_hand_computed_rewards(h: int | None, span: int, shaping: Shaping, solved: bool) -> None:
    maps, actions = script(h or 1, span)
    by_hand = episode_by_hand(maps, actions, shaping, solved, span)
    env = ValueMapReward(
        ToyGym(h, solved),
        maps=lambda observation: maps[observation["decision"][0]],
        commanded_tcp=lambda observation, _: actions[observation["decision"][0]].reshape(-1, 2, 3),
        config=RewardConfig(0.3, 7.0, shaping, GAMMA),
    )
    for _ in range(2):  # nothing of one episode may show in the next
        env.reset(seed=0)
        for decision, action in enumerate(actions):
            dense, sparse = by_hand[decision]
            _, reward, terminated, truncated, info = env.step(action[0] if h is None else action[:h])
            assert info["reward_dense"].dtype == info["reward_sparse"].dtype == np.float32
            np.testing.assert_allclose(info["reward_dense"], dense, atol=1e-6, rtol=0)
            np.testing.assert_array_equal(info["reward_sparse"], sparse)
            assert reward == pytest.approx(0.3 * dense.sum() + 7.0 * sparse.sum(), abs=1e-6)
            last = decision == len(actions) - 1
            assert (terminated, truncated) == (last and solved, last and not solved)
        assert sparse.sum() == solved


@pytest.mark.parametrize("shaping", SHAPINGS)
@pytest.mark.parametrize(("h", "span"), [(1, 1), (4, 1), (16, 1), (4, 2)])
@pytest.mark.parametrize("solved", [True, False], ids=["success", "truncation"])
def test_transform_pays_the_hand_computed_rewards(h: int, span: int, shaping: Shaping, solved: bool) -> None:
    by_hand = episode_by_hand(*script(h, span), shaping, solved, span)
    dense, sparse = np.stack([d for d, _ in by_hand]), np.stack([s for _, s in by_hand])
    assert (np.abs(dense) > 0.01).any() == (shaping != "sparse" and (solved or shaping != "gated"))
    transform = ValueMapRewardTransform(RewardConfig(0.3, 7.0, shaping, GAMMA), (H, W))
    alone, batched = (transform(one) for one in (rollout(h, solved, span), torch.stack([rollout(h, solved, span)] * 2)))
    responses = np.stack([d for d, _ in episode_by_hand(*script(h, span), "additive", solved, span)])
    for row in (alone, batched[0], batched[1]):
        paid = row["next"][: len(dense)]
        np.testing.assert_allclose(paid["reward_dense"], dense, atol=1e-6, rtol=0)
        np.testing.assert_allclose(paid["response"], responses, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(paid["reward_sparse"], sparse)
        total = (0.3 * dense + 7.0 * sparse).sum(1, keepdims=True)
        np.testing.assert_allclose(paid["reward"], total, atol=1e-6, rtol=0)
        assert not row["next", "reward"][len(dense) :].any()


TOOL_HERE, TOOL_AWAY = [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]  # m: in view, out of the frame
GONE = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]  # height of the map where the tool is or was, decision by decision


@pytest.mark.parametrize(
    ("heights", "here", "paid"),
    [
        pytest.param(GONE, [1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], id="leaves when it is done: once"),
        pytest.param(GONE, [1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0], id="lingers while the map lets go: twice"),
        pytest.param(GONE, [1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0], id="is not there: nothing"),
        pytest.param([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], id="hovers: nothing"),
        pytest.param([0, 0.5, 1, 1], [1, 1, 1, 1], [-0.5, -1, -0.5, 0], id="the map comes to where it hovers"),
        pytest.param(
            [1, 1, 0, 0, 0, 1, 1, 1], [1] * 8, [0, 1, 1, 0, -1, -1, 0, 0], id="undone where it stays: all taken back"
        ),
        pytest.param(
            [1, 1, 0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0, 0], id="undone elsewhere: kept"
        ),
        pytest.param(
            [1, 1, 0, 0, 1, 1, 0, 0], [1, 1, 0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1, 0, 0], id="done twice over: twice"
        ),
        pytest.param([1, 1, 0], [1, 1, 1], [0, 1, 0], id="the last decision: nothing"),
    ],
)
@pytest.mark.parametrize("span", [1, 2], ids=["all of a chunk is executed", "half of it"])
def test_what_settled_pays_along_an_episode(
    heights: list[float], here: list[int], paid: list[float], span: int
) -> None:
    """Maps as high everywhere as the test says, the same in every frame; chunks of 4 executed control steps."""
    length, h = len(heights), 4
    maps = np.ones((length, FRAMES, 3, MAP_H, MAP_W), np.float32) * np.reshape(heights, (-1, 1, 1, 1, 1))
    points = np.array([TOOL_HERE if now else TOOL_AWAY for now in here], np.float32)
    commanded_tcp = np.tile(points[:, None, None], (1, span * h, 2, 1))
    transformed, wrapped = settled_by_both(maps.astype(np.float32), commanded_tcp, h)
    np.testing.assert_allclose(transformed, paid, atol=1e-6)
    np.testing.assert_allclose(wrapped, paid, atol=1e-6)


@pytest.mark.parametrize(
    ("span", "paid"),
    [
        pytest.param(1, [0.0, 1.0, 0.0, 0.0], id="foreseen by the frame that shows the chunk's end"),
        pytest.param(2, [0.0, 1.0, 1.0, 0.0], id="the end of the executed half is the first frame"),
    ],
)
def test_what_settled_compares_with_was_predicted_for_the_moment_a_chunk_starts(span: int, paid: list[float]) -> None:
    """The second map says that the point will be let go in the second half of what it spans."""
    heights = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], np.float32)
    maps = np.tile(heights[..., None, None, None], (1, 1, 3, MAP_H, MAP_W))
    commanded_tcp = np.tile(np.array(TOOL_HERE, np.float32), (4, span * 4, 2, 1))
    for earned in settled_by_both(maps, commanded_tcp, 4):
        np.testing.assert_allclose(earned, paid, atol=1e-6)


def settled_by_both(maps: np.ndarray, commanded_tcp: np.ndarray, h: int) -> tuple[np.ndarray, np.ndarray]:
    """What the transform and the wrapper pay by `settled` for each decision of an episode that ends by truncation."""
    length = len(maps)
    config = RewardConfig(1.0, 1.0, "settled")
    rollout = TensorDict(
        {
            "value_map": torch.from_numpy(maps),
            "commanded_tcp": torch.from_numpy(commanded_tcp),
            "head_camera_intrinsic": torch.from_numpy(K).expand(length, 3, 3),
            "head_camera_extrinsic": torch.from_numpy(EXTRINSIC).expand(length, 3, 4),
            "collector": {"mask": torch.ones(length).bool()},
            "next": {
                "step_success": torch.zeros(length, h).bool(),
                "executed": torch.ones(length, h).bool(),
            },
        },
        [length],
    )
    transformed = ValueMapRewardTransform(config, (H, W))(rollout)["next", "reward"][:, 0].numpy()
    env = ValueMapReward(
        ToyGym(h, False, last=length * h - 1),
        maps=lambda observation: maps[observation["decision"][0]],
        commanded_tcp=lambda observation, _: commanded_tcp[observation["decision"][0]],
        config=config,
    )
    env.reset(seed=0)
    return transformed, np.array([env.step(np.zeros((h, 6)))[1] for _ in range(length)])


@pytest.mark.parametrize("maps", ["held", "uniform"])
@pytest.mark.parametrize("shaping", ["additive", "settled", "best_so_far"])
def test_both_adapters_read_the_same_maps(maps: MapSource, shaping: Shaping) -> None:
    predicted, actions = script(4)
    config = RewardConfig(0.3, 7.0, shaping, GAMMA, maps, anneal=True)
    transform = ValueMapRewardTransform(config, (H, W))
    env = ValueMapReward(
        ToyGym(4, True),
        maps=lambda observation: predicted[observation["decision"][0]],
        commanded_tcp=lambda _, action: action.reshape(-1, 2, 3),
        config=config,
    )
    transform.trained = env.trained = 0.5
    env.reset(seed=0)
    paid = [env.step(action)[1] for action in actions]
    rows = transform(rollout(4, True))["next"][: len(actions)]
    np.testing.assert_allclose(rows["reward"][:, 0], paid, atol=1e-6, rtol=0)
    dense = rows["reward_dense"].sum(1)
    np.testing.assert_allclose(0.15 * dense + 7 * rows["reward_sparse"].sum(1), paid, atol=1e-6, rtol=0)
    by_hand = episode_by_hand([np.repeat(held[None], 2, 0) for held in held_by_hand(predicted)], actions, shaping)
    if maps == "held":
        np.testing.assert_allclose(dense, [d.sum() for d, _ in by_hand], atol=1e-5, rtol=0)
    elif shaping == "settled":
        assert not dense.any()  # a uniform map never moves on


def test_maps_of_other_scenes_are_refused_where_there_are_none() -> None:
    with pytest.raises(ValueError, match="ValueMapRewardTransform"):
        ValueMapReward(
            ToyGym(4, True), lambda _: np.empty(0), lambda _, a: a, RewardConfig(1.0, 1.0, maps="other_scene")
        )

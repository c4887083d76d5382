"""From simulated control steps to the advantage the loss sees, against numpy that shares no code with it.

Rollouts arrive like TorchRL's: padded batches of single trajectories, the groups torn apart. Every map is flat, so
the response at a commanded TCP position is the map's value where the point is in view and 0 where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase

from aim_rl.model import AIM, PRESETS
from aim_rl.rl.metrics import describe_rollouts
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import Ppo, PpoConfig
from aim_rl.rollout.groups import KEPT, CompletedRollouts, PartialRollouts, complete_groups, training_batches
from rewards import SHAPINGS, RewardConfig, Shaping
from rewards.torchrl_transform import ValueMapRewardTransform

GAMMA, STD_FLOOR = 0.9, 0.1
HORIZON, FRAMES = 16, 2  # control steps of a chunk; frame 0 judges steps 1-8, frame 1 steps 9-16
STEP_LIMIT = 27  # control steps: no multiple of 4, 8 or 16, so the last chunk is a partial one
ENDS = {5: (13, None), 8: (None, 2), 6: (None, None)}  # seed -> control step (from 0) on which each rollout succeeds
IN_VIEW, OUTSIDE, BEHIND = (0.0, 0.0, 1.0), (5.0, 0.0, 1.0), (0.0, 0.0, -1.0)  # m; the camera looks along +z


@dataclass
class Recorded:
    """One rollout: what the policy wrote and what the environment did, chunk by chunk."""

    seed: int
    end: int | None  # control step that succeeds
    height: NDArray[np.float32]  # [T, F, 2], value of the flat map of each arm
    point: NDArray[np.int64]  # [T, HORIZON, 2], index into (IN_VIEW, OUTSIDE, BEHIND)
    progress: NDArray[np.float32]  # [STEP_LIMIT + 1], the task's, before the first and after every control step
    execute: int

    @property
    def steps(self) -> int:
        return STEP_LIMIT if self.end is None else self.end + 1

    def rewards(self, weights: RewardConfig) -> list[float]:
        """Reward of each decision, counted control step by control step."""
        earned = [weights.lambda_dense * sum(dense) for dense in self.dense(weights.shaping)]
        if self.end is not None:
            earned[-1] += weights.lambda_sparse
        return earned

    def dense(self, shaping: Shaping) -> list[list[float]]:
        """Dense reward of every executed control step, decision by decision."""
        decisions, seen, best, event = -(-self.steps // self.execute), [], 0.0, self.height[0, 0]
        paid: list[list[float]] = [[] for _ in range(decisions)]
        for step in range(self.steps):
            decision, j = divmod(step, self.execute)
            if j == 0 and self.height[decision, 0, int(event[1] > event[0])] < event.max() / 2:
                best, event = 0.0, self.height[decision, 0]  # the map has moved on
            response = self.response(self.height[decision, 0 if j < 8 else 1], decision, j)
            mean_before = np.mean(seen) if seen else 0.0
            seen.append(response)
            value = 0.0
            match shaping:
                case "additive":
                    value = response
                case "length_normalised":
                    value = np.mean(seen) - mean_before
                case "best_so_far":
                    value, best = max(0.0, response - best), max(best, response)
                case "gated":
                    value = np.mean(seen) * (step == self.end)
                case "privileged":
                    value = self.progress[step + 1] - self.progress[step]
            paid[decision].append(float(value))
        for decision in range(decisions):
            if shaping == "settled":
                paid[decision][0] = self.settled(decision)
            if shaping == "potential":
                paid[decision][-1] = GAMMA * self.potential(decision + 1) - self.potential(decision)
        return paid

    def response(self, heights: NDArray[np.float32], decision: int, j: int) -> float:
        """What flat maps of these heights say of a commanded TCP position; the better arm counts."""
        return float(max((heights[a] for a in range(2) if self.point[decision, j, a] == 0), default=0.0))

    def settled(self, decision: int) -> float:
        """The largest change of the map at a point of this chunk, from before it to after it; a fall is positive."""
        start, end = decision * self.execute, min((decision + 1) * self.execute, self.steps)
        if end == self.steps:
            return 0.0
        now = 0 if self.execute <= 8 else 1  # the frame that shows the moment after the executed steps
        before = self.height[decision - 1, now] if decision else self.height[0, 0]
        fall = before - self.height[decision + 1, 0]
        seen = [fall[a] for j in range(end - start) for a in range(2) if self.point[decision, j, a] == 0]
        return float(max(seen, key=abs, default=0.0))

    def potential(self, decision: int) -> float:
        """What the map of a decision says of where the tool was sent before it; 0 at both ends of the episode."""
        if decision in (0, -(-self.steps // self.execute)):
            return 0.0
        return self.response(self.height[decision, 0], decision - 1, self.execute - 1)


def record(execute: int) -> list[Recorded]:
    rng = np.random.default_rng(execute)
    decisions = -(-STEP_LIMIT // execute)
    return [
        Recorded(
            seed,
            end,
            rng.uniform(0, 1, (decisions, FRAMES, 2)).astype(np.float32),
            rng.choice(3, (decisions, HORIZON, 2), p=[0.6, 0.2, 0.2]),
            rng.uniform(0, 1, STEP_LIMIT + 1).astype(np.float32),
            execute,
        )
        for seed, ends in ENDS.items()
        for end in ends
    ]


def as_collected(rollout: Recorded) -> TensorDictBase:
    """The rollout as the collector hands it over."""
    length = -(-rollout.steps // rollout.execute)
    step = np.arange(length)[:, None] * rollout.execute + np.arange(rollout.execute)
    points = np.array([IN_VIEW, OUTSIDE, BEHIND], np.float32)
    maps = np.ones((length, FRAMES, 3, 6, 8), np.float32)  # channel 2 is not to be read
    commanded_tcp = np.zeros((length, HORIZON, 2, 3), np.float32)
    maps[:, :, :2] = rollout.height[:length, :, :, None, None]
    commanded_tcp[:] = points[rollout.point[:length]]
    camera = np.array([[8, 0, 4], [0, 8, 3], [0, 0, 1]], np.float32), np.eye(3, 4, dtype=np.float32)
    last = np.arange(length) == length - 1
    flags = {"step_success": step == rollout.end, "executed": step < rollout.steps, "terminated": last[:, None]}
    flags["terminated"] = flags["terminated"] & (rollout.end is not None)
    after = rollout.progress[np.minimum(step + 1, rollout.steps)]
    source = {
        "progress": np.concatenate([np.full((1, rollout.execute), rollout.progress[0]), after[:-1]]),
        ("next", "progress"): after,
        "value_map": maps,
        "commanded_tcp": commanded_tcp,
        "head_camera_intrinsic": np.repeat(camera[0][None], length, 0),
        "head_camera_extrinsic": np.repeat(camera[1][None], length, 0),
        "seed": np.full((length, 1), rollout.seed),
        **{("next", key): value for key, value in flags.items()},
    }
    tensordict = TensorDict({}, [length])
    for key, value in source.items():
        tensordict[key] = torch.from_numpy(value)
    for key in KEPT:  # what the reward does not depend on
        if key not in tensordict.keys(True):
            tensordict[key] = torch.zeros(length, 1)
    return tensordict


@pytest.fixture
def learner(tiny_model: AIM) -> Ppo:
    policy = AimPolicy(tiny_model, PRESETS["tiny"].execute, "flow_sde", 0.5)
    return Ppo(policy, PpoConfig(advantage="group", gamma=GAMMA, std_floor=STD_FLOOR))


def through_the_project(
    recorded: list[Recorded], weights: RewardConfig, learner: Ppo
) -> tuple[TensorDictBase, dict[str, float]]:
    """Rounds of two rollouts -> complete groups -> rewards -> advantages."""
    transform = ValueMapRewardTransform(weights, (6, 8))
    pairs = ((0, 2), (4, 3), (1, 5))  # torn apart: no round holds a group
    rounds = [[as_collected(recorded[i]) for i in pair] for pair in pairs]
    (rollouts,) = training_batches(
        complete_groups(rounds, PartialRollouts(), group_size=2), CompletedRollouts(), rollouts=6
    )
    metrics = learner.observe(transform(rollouts))
    return rollouts, metrics | describe_rollouts(rollouts)


def by_hand(recorded: list[Recorded], weights: RewardConfig) -> dict[int, list[list[float]]]:
    """Seed -> advantages of each of its rollouts, decision by decision."""
    advantages = {}
    for seed in ENDS:
        group = [rollout for rollout in recorded if rollout.seed == seed]
        returns = []
        for rollout in group:
            earned = rollout.rewards(weights)
            returns.append([sum(r * GAMMA**k for k, r in enumerate(earned[t:])) for t in range(len(earned))])
        deviations = [
            [r - np.mean([other[t] for other in returns if t < len(other)]) for t, r in enumerate(own)]
            for own in returns
        ]
        spread = np.sqrt(np.mean(np.square(np.concatenate(deviations))))
        mixed = len({rollout.end is None for rollout in group}) == 2
        advantages[seed] = [[d / max(spread, STD_FLOOR) * mixed for d in own] for own in deviations]
    return advantages


def compare(
    rollouts: TensorDictBase,
    recorded: list[Recorded],
    weights: RewardConfig,
    advantages: dict[int, list[list[float]]],
) -> None:
    """What the estimator wrote, row by row; batches mix the order within a group."""
    unseen = {seed: [rollout for rollout in recorded if rollout.seed == seed] for seed in ENDS}
    for row, seed in enumerate(rollouts["seed"][:, 0, 0].tolist()):
        taken = int(rollouts["collector", "mask"][row].sum())
        index = next(
            i
            for i, r in enumerate(unseen[seed])
            if r is not None
            and -(-r.steps // r.execute) == taken
            and np.allclose(rollouts["next", "reward"][row, :taken, 0], r.rewards(weights), atol=1e-5)
        )
        unseen[seed][index] = None  # pyright: ignore[reportArgumentType]
        seen = rollouts["advantage"][row, :, 0]
        np.testing.assert_allclose(seen[:taken], advantages[seed][index], atol=1e-4)
        assert not seen[taken:].any()


@pytest.mark.parametrize("execute", [1, 4, PRESETS["tiny"].execute, PRESETS["small"].execute, 12])
@pytest.mark.parametrize(
    "weights",
    [
        RewardConfig(0.3, 0.0, "additive"),
        RewardConfig(0.0, 2.0, "additive"),
        *(RewardConfig(0.3, 2.0, shaping, GAMMA) for shaping in SHAPINGS),
    ],
    ids=["dense", "success", *SHAPINGS],
)
def test_what_the_control_steps_earned_is_what_the_advantage_saw(
    execute: int, weights: RewardConfig, learner: Ppo
) -> None:
    recorded = record(execute)
    rollouts, metrics = through_the_project(recorded, weights, learner)
    compare(rollouts, recorded, weights, by_hand(recorded, weights))
    total = [sum(rollout.rewards(weights)) for rollout in recorded]
    dense = [sum(rollout.rewards(RewardConfig(1.0, 0.0, weights.shaping, GAMMA))) for rollout in recorded]
    assert metrics["return"] == pytest.approx(np.mean(total), abs=1e-4)
    assert metrics["return_dense"] == pytest.approx(np.mean(dense), abs=1e-4)
    assert metrics["success"] == metrics["return_sparse"] == pytest.approx(2 / 6)
    assert metrics["groups_mixed"] == pytest.approx(4 / 6)
    assert metrics["episode_steps"] == pytest.approx(np.mean([rollout.steps for rollout in recorded]))


class KnownValues:
    """A fake critic: V of a decision is the height of the left arm's first map."""

    fitted = True

    def __init__(self) -> None:
        self.returns = torch.empty(0)

    def __call__(self, rollouts: TensorDictBase) -> torch.Tensor:
        return rollouts["value_map"][..., 0, 0, 0, 0]

    def fit(self, rollouts: TensorDictBase, returns: torch.Tensor) -> float:
        self.returns = returns
        return 0.0


@pytest.mark.parametrize("execute", [1, 4, PRESETS["small"].execute, 12])
@pytest.mark.parametrize("shaping", ["sparse", "additive", "settled"])
def test_what_the_control_steps_earned_is_what_gae_saw(execute: int, shaping: Shaping, tiny_model: AIM) -> None:
    """The default estimator: every advantage spelled out as a sum of what follows, over all of a batch's decisions."""
    policy = AimPolicy(tiny_model, PRESETS["tiny"].execute, "flow_sde", 0.5)
    learner = Ppo(policy, PpoConfig(gamma=GAMMA, gae_lambda=0.6))
    learner.critic = critic = KnownValues()  # pyright: ignore[reportAttributeAccessIssue]
    recorded, weights = record(execute), RewardConfig(0.3, 2.0, shaping, GAMMA)
    rollouts, metrics = through_the_project(recorded, weights, learner)
    raw: dict[int, list[list[float]]] = {seed: [] for seed in ENDS}
    for rollout in recorded:
        earned = rollout.rewards(weights)
        value = [*rollout.height[: len(earned), 0, 0].tolist(), 0.0]  # nothing is expected from beyond the end
        surprise = [r + GAMMA * value[t + 1] - value[t] for t, r in enumerate(earned)]
        raw[rollout.seed].append(
            [sum(d * (0.6 * GAMMA) ** k for k, d in enumerate(surprise[t:])) for t in range(len(earned))]
        )
    every = np.concatenate([own for rows in raw.values() for own in rows])
    expected = {seed: [[(a - every.mean()) / every.std() for a in own] for own in rows] for seed, rows in raw.items()}
    compare(rollouts, recorded, weights, expected)
    first = rollouts["seed"][:, 0, 0].tolist().index(8)
    discounted = [sum(r * GAMMA**k for k, r in enumerate(one.rewards(weights))) for one in recorded if one.seed == 8]
    assert critic.returns[first, 0].item() in [pytest.approx(one, abs=1e-4) for one in discounted]
    assert metrics["critic/loss"] == 0.0


def test_one_response_of_one_rollout_moves_its_advantage(learner: Ppo) -> None:
    """One control step per decision: from one value of a map to the loss."""
    weights, recorded = RewardConfig(0.5, 1.0, "additive"), record(execute=1)
    first, partner = recorded[0], recorded[1]
    first.point[3, 0] = 0
    first.height[3, 0] = 0.0
    before = by_hand(recorded, weights)[5]
    first.height[3, 0] = (0.2, 0.8)
    # Decision 3 earns 0.5 * 0.8 more; decisions 0..3 see it discounted, half of it goes into the group's mean.
    earned = [rollout.rewards(weights) for rollout in (first, partner)]
    returns = [[sum(r * GAMMA**k for k, r in enumerate(own[t:])) for t in range(len(own))] for own in earned]
    deviation = np.array(returns[0][:14]) - np.array(returns[1][:14])
    spread = np.sqrt(2 * np.sum((deviation / 2) ** 2) / (14 + STEP_LIMIT))
    rollouts, _ = through_the_project(recorded, weights, learner)
    row = rollouts["seed"][:, 0, 0].tolist().index(5)
    seen = rollouts["advantage"][row, :14, 0].numpy()
    np.testing.assert_allclose(seen, deviation / 2 / max(spread, STD_FLOOR), atol=1e-4)
    assert (seen[:4] - np.array(before[0][:4]) > 0.01).all()

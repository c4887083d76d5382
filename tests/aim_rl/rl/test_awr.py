"""Advantage-weighted regression: what is drawn, what it learns, what it must not touch, and that it resumes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDictBase

from aim_rl.model import AIM
from aim_rl.rl.awr import Awr, AwrConfig, decision_weights
from aim_rl.rl.policy import AimPolicy

Act = Callable[..., TensorDictBase]
SMALL = AwrConfig(steps=4, minibatch=8, capacity=64, critic_steps=2)


@pytest.fixture
def policy(tiny_model: AIM) -> AimPolicy:
    return AimPolicy(tiny_model, 8, "initial_noise")


def rewarded(rollouts: TensorDictBase, successes: int) -> TensorDictBase:
    """Rollouts [N, T], the first of which succeed with their last decision."""
    reward = torch.zeros(*rollouts.shape, 1)
    reward[:successes, -1] = 1.0
    rollouts["next", "reward"] = reward
    rollouts["decision"] = torch.arange(rollouts.shape[1])[None, :, None].expand(*rollouts.shape, 1).clone()
    return rollouts


def test_weights_are_exponential_bounded_and_balanced_over_episodes() -> None:
    mask = torch.tensor([[True, True, True, True], [True, False, False, False]])
    advantage = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.0, 9.0, 9.0, 9.0]])
    scale = math.sqrt(4 / 5)  # standard deviation of 1, -1, 1, -1, 0
    weight = decision_weights(advantage, mask, temperature=2.0)
    good, bad = math.exp(1 / scale / 2) / 4, math.exp(-1 / scale / 2) / 4  # of an episode of four decisions
    torch.testing.assert_close(weight[0], torch.tensor([good, bad, good, bad]))
    torch.testing.assert_close(weight[1], torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert decision_weights(advantage, mask, temperature=1e-3).max() == pytest.approx(math.exp(2.3) / 4)


def test_the_head_learns_what_succeeded_and_not_what_failed(policy: AimPolicy, act: Act) -> None:
    torch.manual_seed(0)
    rollouts = rewarded(act(policy, 8, 3), 4)
    rollouts["chunk"][:4], rollouts["chunk"][4:] = 1.0, -1.0
    learner = Awr(policy, AwrConfig(steps=60, minibatch=24, capacity=64, learning_rate=3e-3, anchor=0.0))
    observed = learner.observe(rollouts)
    assert observed["replay/decisions"] == 24
    before = act(policy, 8, 3)["chunk"].mean()
    learner.update(rollouts)
    assert act(policy, 8, 3)["chunk"].mean() > before + 0.3


def test_the_anchor_holds_the_head_where_stage_1_is(policy: AimPolicy, act: Act) -> None:
    """The farther from Stage I an update leads, the stronger the anchor, the shorter it is."""
    rollouts, start = rewarded(act(policy, 8, 3), 4), policy.model.action.state_dict()
    start, distance = {name: tensor.clone() for name, tensor in start.items()}, []
    rollouts["chunk"][:] = 2.0
    for anchor in (0.0, 30.0):
        policy.model.action.load_state_dict(start)
        torch.manual_seed(0)
        learner = Awr(policy, AwrConfig(steps=40, minibatch=24, capacity=64, learning_rate=3e-3, anchor=anchor))
        learner.observe(rollouts)
        distance.append(learner.update(rollouts)["update/anchor"])
    assert distance[1] < 0.5 * distance[0]


def test_only_the_action_head_changes_and_the_world_never_runs(policy: AimPolicy, act: Act) -> None:
    rollouts = rewarded(act(policy, 4, 3), 2)
    learner = Awr(policy, SMALL)
    ran = []
    for part in ("stem", "text", "x", "m"):
        policy.model.get_submodule(part).register_forward_pre_hook(lambda *_: ran.append(1))
    before = {name: parameter.clone() for name, parameter in policy.model.named_parameters()}
    learner.observe(rollouts)
    learner.update(rollouts)
    changed = {name for name, now in policy.model.named_parameters() if not torch.equal(now, before[name])}
    assert changed and all(name.startswith("action.") for name in changed)
    assert not ran
    assert policy.version == 1


def test_the_oldest_decisions_leave_the_replay_buffer(policy: AimPolicy, act: Act) -> None:
    learner = Awr(policy, AwrConfig(steps=1, minibatch=4, capacity=16, critic_steps=1))
    first, second = rewarded(act(policy, 4, 3), 2), rewarded(act(policy, 4, 3), 2)
    first["chunk"][:], second["chunk"][:] = 1.0, 2.0
    learner.observe(first)
    metrics = learner.observe(second)
    assert metrics["replay/decisions"] == 16
    assert sorted(learner.state_dict()["stored"]["chunk"][:, 0, 0].tolist()) == [1.0] * 4 + [2.0] * 12


def test_a_restored_learner_goes_on_as_the_first_would_have(tiny_model: AIM, act: Act) -> None:
    policy = AimPolicy(tiny_model, 8, "initial_noise")
    stage1 = copy.deepcopy(policy.trained.state_dict())
    learner, rollouts = Awr(policy, SMALL), rewarded(act(policy, 4, 3), 2)
    learner.observe(rollouts)
    learner.update(rollouts)
    saved = copy.deepcopy(learner.state_dict())

    def update(learner: Awr) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        learner.observe(rollouts)
        learner.update(rollouts)
        return copy.deepcopy(policy.trained.state_dict())

    expected = update(learner)
    policy.trained.load_state_dict(stage1)
    restored = Awr(policy, SMALL)
    restored.load_state_dict(saved)
    torch.testing.assert_close(update(restored), expected, rtol=0, atol=0)

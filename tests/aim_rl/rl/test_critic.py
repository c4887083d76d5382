"""The critic of GAE: learns from stored features, judges only by what it knew before, runs nothing frozen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensordict import TensorDictBase

from aim_rl.model import AIM
from aim_rl.rl.critic import Critic
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import Ppo, PpoConfig
from aim_rl.runs.state import Counters, FiniteUpdates
from envs.errors import UserError


def test_it_learns_what_the_features_tell(tiny_model: AIM, act: Callable[..., TensorDictBase]) -> None:
    rollouts = act(AimPolicy(tiny_model, 6, "initial_noise", 0.1), 64, 3)
    rollouts["decision"] = torch.arange(3).expand(64, 3)[..., None]
    returns = 0.3 * rollouts["proprio"][..., 0].sign() + 0.1 * rollouts["decision"][..., 0]
    value = Critic(tiny_model, FiniteUpdates(Counters()), 300)
    value.fit(rollouts, returns)
    with torch.no_grad():
        error = (value(rollouts) - returns).square().mean()
    assert error < 0.1 * returns.var()


def test_the_first_rollouts_train_the_critic_alone(tiny_model: AIM, act: Callable[..., TensorDictBase]) -> None:
    """An advantage by a critic that has seen nothing, or these very rollouts, would be noise, or nothing."""
    learner = Ppo(AimPolicy(tiny_model, 6, "initial_noise", 0.1), PpoConfig(advantage="gae"))
    rollouts = one_group(act, learner)
    learner.observe(rollouts)
    assert not rollouts["advantage"].any()
    learner.observe(rollouts)
    assert rollouts["advantage"].isfinite().all() and rollouts["advantage"].any()


@pytest.mark.parametrize("whose", ["the action head's", "the critic's"])
def test_updates_of_one_kind_that_succeed_do_not_hide_those_of_the_other_that_fail(
    whose: str, tiny_model: AIM, act: Callable[..., TensorDictBase], tmp_path: Path
) -> None:
    learner = Ppo(AimPolicy(tiny_model, 6, "initial_noise", 0.1), PpoConfig(epochs=1, critic_steps=1))
    learner.observe(one_group(act, learner))
    for number in range(3):
        learner.check(tmp_path)  # two in a row are not yet the end
        rollouts = one_group(act, learner)
        if whose == "the critic's":
            rollouts["next", "reward"][:] = torch.nan
        learner.observe(rollouts)
        rollouts["advantage"][:] = 1.0
        if whose == "the action head's":
            rollouts["sample_log_prob"][:] = torch.nan
        learner.update(rollouts)
        assert learner.counters["skipped_updates"] == number + 1
    with pytest.raises(UserError, match="3 times in a row"):
        learner.check(tmp_path)


def one_group(act: Callable[..., TensorDictBase], learner: Ppo) -> TensorDictBase:
    """Four rollouts of one seed, of which two succeed."""
    rollouts = act(learner.policy, 4, 3)
    success = torch.tensor([True, True, False, False])
    flags = {"terminated": torch.zeros(4, 3, 1, dtype=torch.bool), "executed": torch.ones(4, 3, 6, dtype=torch.bool)}
    flags["terminated"][:, -1, 0] = success
    rollouts["next"] = {
        **flags,
        "reward": flags["terminated"].float(),
        "reward_dense": torch.zeros(4, 3, 6),
        "reward_sparse": torch.zeros(4, 3, 6),
    }
    rollouts["seed"] = torch.zeros(4, 3, 1, dtype=torch.long)
    rollouts["decision"] = torch.arange(3).expand(4, 3)[..., None]
    return rollouts

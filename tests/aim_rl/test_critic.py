"""The critic of GAE: learns from stored features, judges only by what it knew before, runs nothing frozen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDictBase

from aim_rl.critic import Critic
from aim_rl.grpo import Grpo, GrpoConfig
from aim_rl.model import AIM
from aim_rl.policy import AimPolicy
from aim_rl.resume import Counters, FiniteUpdates


def test_it_learns_what_the_features_tell(tiny_model: AIM, act: Callable[..., TensorDictBase]) -> None:
    rollouts = act(AimPolicy(tiny_model, 6, "initial_noise", 0.1), 64, 3)
    rollouts["decision"] = torch.arange(3).expand(64, 3)[..., None]
    returns = 0.3 * rollouts["proprio"][..., 0].sign() + 0.1 * rollouts["decision"][..., 0]
    critic = Critic(tiny_model, FiniteUpdates(Counters()))
    critic.fit(rollouts, returns)
    with torch.no_grad():
        error = (critic(rollouts) - returns).square().mean()
    assert error < 0.1 * returns.var()


def test_the_first_rollouts_train_the_critic_alone(tiny_model: AIM, act: Callable[..., TensorDictBase]) -> None:
    """An advantage by a critic that has seen nothing, or these very rollouts, would be noise, or nothing."""
    learner = Grpo(AimPolicy(tiny_model, 6, "initial_noise", 0.1), GrpoConfig(advantage="gae"))
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
    learner.assign_advantages(rollouts)
    assert not rollouts["advantage"].any()
    learner.assign_advantages(rollouts)
    assert rollouts["advantage"].isfinite().all() and rollouts["advantage"].any()

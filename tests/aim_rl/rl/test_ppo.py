"""The Stage II update on recorded rollouts: what it changes, what it must not touch, what it costs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from aim_rl.model import AIM, PRESETS, WorldContext, sample_chain
from aim_rl.model.waypoints import decode_waypoints
from aim_rl.rl.exploration import Sampler
from aim_rl.rl.metrics import describe_rollouts
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import Ppo, PpoConfig
from aim_rl.rl.trainer import learning_rate_share

Act = Callable[..., TensorDictBase]
EXECUTE = 6  # control steps: one and a half waypoints


@pytest.fixture
def policy(tiny_model: AIM) -> AimPolicy:
    return AimPolicy(tiny_model, EXECUTE, "flow_sde", noise_level=0.5)


def with_advantage(rollouts: TensorDictBase) -> TensorDictBase:
    """+1 for the first half of the rollouts, -1 for the others."""
    signs = torch.where(torch.arange(len(rollouts)) < len(rollouts) / 2, 1.0, -1.0)
    rollouts["advantage"] = signs[:, None, None].expand(*rollouts.shape, 1).clone()
    return rollouts


def log_prob(policy: AimPolicy, rollouts: TensorDictBase) -> torch.Tensor:
    """[N, T], mean over denoising steps."""
    with torch.no_grad():
        return policy.get_dist(rollouts).log_prob(rollouts["sample"]).mean(-1)


def fingerprint(tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("sampler", ["initial_noise", "flow_sde", "cps", "flow_noise"])
def test_the_recomputed_ratio_of_fresh_data_is_one(tiny_model: AIM, act: Act, sampler: Sampler) -> None:
    policy = AimPolicy(tiny_model, EXECUTE, sampler, noise_level=0.5)
    rollouts = act(policy)
    assert rollouts["sample_log_prob"].isfinite().all()
    learner = Ppo(policy, PpoConfig())
    assert learner.ratio_error(rollouts.reshape(-1)) < 1e-4
    with torch.no_grad():
        policy.model.action.stream.head.bias += 0.1
    assert learner.ratio_error(rollouts.reshape(-1)) > 1e-2


def test_fresh_and_stale_decisions_are_told_apart(policy: AimPolicy, act: Act) -> None:
    """The check that the ratio is 1 looks at decisions of the present weights only."""
    learner, first = Ppo(policy, PpoConfig(learning_rate=1e-3)), with_advantage(act(policy, 4, 3))
    assert learner.update(first)["update/updates_behind"] == 0
    second = with_advantage(act(policy, 4, 3))
    second = torch.cat([first[:2], second[2:]])  # the first two began before the update
    metrics = learner.update(second)
    assert metrics["update/updates_behind"] == 0.5
    assert metrics["update/ratio_error_fresh"] < 1e-4
    assert learner.ratio_error(first.reshape(-1)) > 1e-2


def test_a_likelihood_that_is_not_the_one_sampled_from_gives_a_warning(policy: AimPolicy, act: Act) -> None:
    rollouts = with_advantage(act(policy, 4, 3))
    rollouts["sample_log_prob"] += 0.01
    with pytest.warns(UserWarning, match=r"likelihood ratios up to 1\.0e-02 off 1"):
        Ppo(policy, PpoConfig()).update(rollouts)


def test_an_update_makes_good_chains_likelier_and_bad_ones_less_likely(policy: AimPolicy, act: Act) -> None:
    rollouts = with_advantage(act(policy, 8, 3))
    before = log_prob(policy, rollouts)
    metrics = Ppo(policy, PpoConfig(learning_rate=3e-4, epochs=4)).update(rollouts)
    change = (log_prob(policy, rollouts) - before).mean(1)
    assert metrics["update/decisions"] == 24
    assert metrics["update/ratio_error_fresh"] < 1e-4
    assert change[:4].min() > 0, change
    assert change[4:].max() < 0, change


def test_decisions_without_advantage_or_outside_the_mask_are_left_out(policy: AimPolicy, act: Act) -> None:
    rollouts = with_advantage(act(policy, 4, 3))
    rollouts["advantage"][0] = 0
    rollouts["collector", "mask"][1, 2] = False
    assert Ppo(policy, PpoConfig()).update(rollouts)["update/decisions"] == 8
    rollouts["advantage"][:] = 0
    before = fingerprint(policy.model.parameters())
    assert Ppo(policy, PpoConfig()).update(rollouts) == {"update/decisions": 0.0}
    assert fingerprint(policy.model.parameters()) == before


def test_the_frozen_streams_never_run_during_an_update(policy: AimPolicy, act: Act) -> None:
    calls: Counter[str] = Counter()
    # Before the loss is made: it works on a copy of the policy, hooks included.
    for part in ("stem", "text", "x", "m", "action"):
        for module in getattr(policy.model, part).modules():
            module.register_forward_pre_hook(lambda *_, part=part: calls.update([part]))

    rollouts = with_advantage(act(policy))
    assert all(calls[part] > 0 for part in ("stem", "text", "x", "m", "action"))
    calls.clear()
    Ppo(policy, PpoConfig(epochs=3, minibatch=4)).update(rollouts)
    assert set(calls) == {"action"}


def test_only_the_action_head_changes(policy: AimPolicy, act: Act) -> None:
    model = policy.model
    frozen = [*model.world_parameters(), *model.buffers()]
    world, head = fingerprint(frozen), fingerprint(model.action.parameters())
    assert sum(1 for _ in model.parameters()) == sum(
        1 for part in (model.world_parameters(), model.action.parameters()) for _ in part
    )
    learner = Ppo(policy, PpoConfig())
    for _ in range(2):
        learner.update(with_advantage(act(policy)))
    assert fingerprint(frozen) == world
    assert all(parameter.grad is None for parameter in model.world_parameters())
    assert fingerprint(model.action.parameters()) != head


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_skips_the_step(policy: AimPolicy, act: Act, bad: float) -> None:
    learner, rollouts = Ppo(policy, PpoConfig()), with_advantage(act(policy))
    before = fingerprint(policy.model.parameters())
    rollouts["advantage"][0, 0] = bad
    learner.update(rollouts)
    assert fingerprint(policy.model.parameters()) == before
    learner.update(with_advantage(rollouts))  # and the next finite one is taken
    assert fingerprint(policy.model.parameters()) != before


def test_kl_to_stage1_starts_at_zero_and_grows(policy: AimPolicy, act: Act) -> None:
    learner, rollouts = Ppo(policy, PpoConfig(learning_rate=1e-3)), with_advantage(act(policy))
    assert learner.kl_to_stage1(rollouts) == 0
    head = fingerprint(policy.model.action.parameters())
    learner.kl_to_stage1(rollouts)
    assert fingerprint(policy.model.action.parameters()) == head
    metrics = learner.update(rollouts)
    assert metrics["update/kl_to_stage1"] == pytest.approx(learner.kl_to_stage1(rollouts.reshape(-1)))
    assert metrics["update/kl_to_stage1"] > 0


@pytest.mark.parametrize(("anchor", "holds"), [(0.0, False), (10.0, True)])
def test_the_anchor_pulls_the_head_back_to_stage_1(policy: AimPolicy, act: Act, anchor: float, holds: bool) -> None:
    """Where advantages say nothing, the head returns towards Stage I; without the anchor it stays where it drifted."""
    learner = Ppo(policy, PpoConfig(learning_rate=1e-3, epochs=20, anchor=anchor))
    rollouts = with_advantage(act(policy))
    with torch.no_grad():
        for parameter in policy.model.action.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    rollouts = with_advantage(act(policy))
    rollouts["advantage"] = torch.full_like(rollouts["advantage"], 1e-12)
    drifted = learner.kl_to_stage1(rollouts)
    learner.update(rollouts)
    assert (learner.kl_to_stage1(rollouts) < 0.8 * drifted) == holds


def test_the_commanded_tcp_is_the_tool_centre_of_the_commanded_pose(policy: AimPolicy, act: Act) -> None:
    rollouts = act(policy, 2, 2)
    assert rollouts["action"].shape == (2, 2, EXECUTE, 16)
    assert rollouts["commanded_tcp"].shape == (2, 2, PRESETS["tiny"].horizon, 2, 3)
    action = rollouts["action"].numpy().reshape(-1, 2, 8).astype(float)
    x, y, z, qw, qx, qy, qz = (action[..., i] for i in range(7))
    forward = np.stack([1 - 2 * (qy**2 + qz**2), 2 * (qx * qy + qw * qz), 2 * (qx * qz - qw * qy)], -1)
    tool = np.stack([x, y, z], -1) + 0.12 * forward
    commanded_tcp = rollouts["commanded_tcp"][:, :, :EXECUTE].numpy().reshape(-1, 2, 3)
    np.testing.assert_allclose(commanded_tcp, tool, atol=1e-5)


def test_the_likelihood_covers_the_executed_waypoints_only(policy: AimPolicy, act: Act) -> None:
    rollouts = act(policy)
    assert rollouts["chain"].shape[-3:] == (5, 4, 14)
    assert rollouts["sample"].shape[-3:] == (4, 2, 14)
    assert torch.equal(rollouts["sample"], rollouts["chain"][..., 1:, :2, :])
    assert rollouts["sample_log_prob"].shape[-1] == 4


def test_evaluation_does_not_depend_on_the_neighbours_or_on_what_was_drawn_before(
    tiny_model: AIM, observations: Callable[..., TensorDict]
) -> None:
    policy, batch = AimPolicy(tiny_model, EXECUTE), observations(3)
    together = policy(batch.clone())
    torch.rand(7)
    alone = policy(batch[1:2].clone())
    torch.testing.assert_close(together["action"][1:2], alone["action"], atol=1e-5, rtol=0)
    torch.testing.assert_close(together["value_map"][1:2], alone["value_map"], atol=1e-5, rtol=0)


def test_initial_noise_executes_the_ode_from_a_draw_and_credits_its_odd_part(
    tiny_model: AIM, observations: Callable[..., TensorDict]
) -> None:
    """The executed chunk is the flow's own from a·z; the likelihood's chain is the one that evaluation executes."""
    noise_level, batch = 0.5, observations(3)
    torch.manual_seed(3)
    explored = AimPolicy(tiny_model, EXECUTE, "initial_noise", noise_level)(batch.clone())
    evaluated = AimPolicy(tiny_model, EXECUTE)(batch.clone())
    torch.testing.assert_close(explored["chain"], evaluated["chain"])
    assert not torch.allclose(explored["action"], evaluated["action"])

    torch.manual_seed(3)
    start = noise_level * torch.randn(3, 4, 14)
    context = WorldContext(explored["context_kv"], explored["context_keypoints"])

    def chunk(start: torch.Tensor) -> torch.Tensor:
        def velocity(waypoints: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return tiny_model.action_velocity(context, explored["proprio"], waypoints, t)

        return sample_chain(velocity, start, PRESETS["tiny"].action_steps)[:, -1]

    with torch.no_grad():
        executed, mirrored = chunk(start), chunk(-start)
    actions, _ = decode_waypoints(batch["qpos"], tiny_model.waypoints.denormalise(executed))
    torch.testing.assert_close(explored["action"], actions[:, :EXECUTE].float(), atol=1e-5, rtol=0)
    policy = AimPolicy(tiny_model, EXECUTE, "initial_noise", noise_level)
    credited = explored["sample"] - policy.get_dist(explored).mean
    half = ((executed - mirrored) / 2)[:, :2]
    # At most as long as a typical draw of the likelihood's Gaussian: 28 numbers of spread 0.5 * 0.5.
    length = half.flatten(1).norm(dim=1)
    bounded = half * (28**0.5 * 0.25 / length).clamp(max=1)[:, None, None]
    torch.testing.assert_close(credited, bounded[:, None].expand_as(credited), atol=1e-5, rtol=0)


def test_a_policy_remembers_each_row_since_its_episode_began(
    observations: Callable[..., TensorDict],
) -> None:
    """Row 1 begins an episode at the third decision, and acts from there as a policy that has seen nothing."""
    torch.manual_seed(0)
    model = AIM(replace(PRESETS["tiny"], history=2))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    decisions = observations(2, 4)
    decisions["decision"] = torch.tensor([[0, 1, 2, 3], [0, 1, 0, 1]])[..., None]
    policy, fresh = AimPolicy(model.eval(), 8), AimPolicy(model, 8)
    acted = [policy(decisions[:, t].clone()) for t in range(4)]
    late = [fresh(decisions[:, t].clone()) for t in (2, 3)]
    for ours, theirs in zip(acted[2:], late, strict=True):
        torch.testing.assert_close(ours["chain"][1], theirs["chain"][1])
        assert (ours["chain"][0] - theirs["chain"][0]).abs().max() > 1e-4
    assert acted[3]["context_exists"][:, :4].tolist() == [[True] * 4, [False] * 2 + [True] * 2]
    exploring = AimPolicy(model, 8, "initial_noise", 0.5)
    sampled = torch.stack([exploring(decisions[:, t].clone()) for t in range(4)], 1)
    recomputed = exploring.get_dist(sampled).log_prob(sampled["sample"])
    torch.testing.assert_close(recomputed, sampled["sample_log_prob"], atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:decisions of the present weights")
def test_a_ratio_of_thousands_has_no_gradient(policy: AimPolicy, act: Act) -> None:
    """A bad decision that has become far likelier since it was taken does not dominate the gradient."""
    rollouts = with_advantage(act(policy))
    rollouts["advantage"] = torch.full_like(rollouts["advantage"], -1.0)
    rollouts["sample_log_prob"] -= 9.0
    before = fingerprint(policy.model.action.parameters())
    metrics = Ppo(policy, PpoConfig(learning_rate=1e-3)).update(rollouts)
    assert metrics["update/max_ratio"] > 1000 and metrics["update/loss_objective"] == 3.0
    assert fingerprint(policy.model.action.parameters()) == before
    rollouts["sample_log_prob"] += 8.0  # e^1 is below DUAL_CLIP
    Ppo(policy, PpoConfig(learning_rate=1e-3)).update(rollouts)
    assert fingerprint(policy.model.action.parameters()) != before


def test_learning_rate_rises_and_falls(tiny_model: AIM, act: Act) -> None:
    policy = AimPolicy(tiny_model, EXECUTE, "flow_sde", noise_level=0.5)
    learner, rollouts = Ppo(policy, PpoConfig(learning_rate=1e-3)), with_advantage(act(policy))
    assert [learning_rate_share(trained) for trained in (0, 0.025, 0.1, 0.55, 1)] == [0, 0.25, 1, pytest.approx(0.5), 0]
    learner.rate = 0.25
    assert learner.update(rollouts)["update/learning_rate"] == 2.5e-4
    before, learner.rate = fingerprint(tiny_model.action.parameters()), 0.0
    learner.update(rollouts)
    assert fingerprint(tiny_model.action.parameters()) == before


def test_flow_noise_learns_its_spread(tiny_model: AIM, act: Act) -> None:
    """Rewarding the larger deviations makes the noise head's spread grow, within its bound."""
    policy = AimPolicy(tiny_model, EXECUTE, "flow_noise", noise_level=0.16)
    assert policy.noise is not None
    rollouts = act(policy, 16, 4)
    with torch.no_grad():
        before = policy.get_dist(rollouts)
    deviation = ((rollouts["sample"] - before.mean) / before.stddev).square().mean((-1, -2, -3))
    rollouts["advantage"] = (deviation - deviation.mean()).sign()[..., None]
    learner = Ppo(policy, PpoConfig(learning_rate=1e-3, epochs=4, advantage="group"))
    learner.update(rollouts)
    after = policy.get_dist(rollouts).stddev
    assert after.mean() > before.stddev.mean()
    assert after.max() <= 0.16


def test_unfrozen_world_streams_are_encoded_again_and_trained(
    tiny_model: AIM, act: Act, observations: Callable[..., TensorDict]
) -> None:
    policy = AimPolicy(tiny_model, EXECUTE, "flow_sde", noise_level=0.5, train_world=True)
    learner, rollouts = Ppo(policy, PpoConfig(advantage="group")), with_advantage(act(policy))
    rollouts.update(observations(*rollouts.shape))
    world = fingerprint(tiny_model.world_parameters())
    metrics = learner.update(rollouts)
    assert metrics["update/ratio_error_fresh"] < 1e-4
    assert fingerprint(tiny_model.world_parameters()) != world
    assert metrics["update/kl_to_stage1"] > 0
    # The likelihood follows the world streams, not the context that was stored before they moved.
    stale = rollouts.clone()
    stale["context_kv"].zero_()
    torch.testing.assert_close(log_prob(policy, stale), log_prob(policy, rollouts))


def test_world_streams_with_a_past_are_not_trained() -> None:
    model = AIM(replace(PRESETS["tiny"], history=2))
    with pytest.raises(ValueError, match="history"):
        AimPolicy(model, 8, "flow_sde", 0.5, train_world=True)


def earned(sparse: list[float], dense: list[float]) -> TensorDictBase:
    """Rollouts of one decision of one control step; two of seed 1, then two of seed 2."""
    rollouts = TensorDict({}, [4, 1])
    rollouts["collector", "mask"] = torch.ones(4, 1, dtype=torch.bool)
    rollouts["seed"] = torch.tensor([1, 1, 2, 2])[:, None, None]
    rollouts["next", "reward_sparse"] = torch.tensor(sparse, dtype=torch.float32)[:, None, None]
    rollouts["next", "reward_dense"] = torch.tensor(dense, dtype=torch.float32)[:, None, None]
    rollouts["next", "reward"] = rollouts["next", "reward_sparse"] + 0.5 * rollouts["next", "reward_dense"]
    rollouts["next", "terminated"] = rollouts["next", "reward_sparse"] > 0
    rollouts["next", "executed"] = torch.ones(4, 1, 1, dtype=torch.bool)
    return rollouts


@pytest.mark.parametrize("advantage", ["group", "trajectory"])
@pytest.mark.parametrize("dense_weight", [None, 0.5])
def test_groups_are_kept_by_success_never_by_the_shaped_reward(
    policy: AimPolicy, advantage: Literal["group", "trajectory"], dense_weight: float | None
) -> None:
    """Both failed, however differently the map saw them; one succeeded, although both earned the same."""
    rollouts = earned(sparse=[0, 0, 0, 1], dense=[0, 30, 2, 0])
    learner = Ppo(policy, PpoConfig(advantage=advantage, dense_weight=dense_weight))
    learner.observe(rollouts)
    assert describe_rollouts(rollouts)["groups_mixed"] == 0.5
    assert rollouts["advantage"][:2].flatten().tolist() == [0, 0]
    # Together 2 · 0.5 = 1: no difference. Apart ∓1 for success and ±1 for the map, weighed 0.5.
    expected = [0, 0] if dense_weight is None else [-0.5, 0.5]
    assert rollouts["advantage"][2:].flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("advantage", ["group", "trajectory"])
def test_each_part_has_its_own_floor(policy: AimPolicy, advantage: Literal["group", "trajectory"]) -> None:
    """A dense return that hardly differs is not blown up to the size of success."""
    rollouts = earned(sparse=[0, 1, 0, 1], dense=[0.0, 0.01, 0.01, 0.0])
    Ppo(policy, PpoConfig(advantage=advantage, dense_weight=1.0, std_floor=0.1)).observe(rollouts)
    assert rollouts["advantage"].flatten().tolist() == pytest.approx([-1.05, 1.05, -0.95, 0.95])

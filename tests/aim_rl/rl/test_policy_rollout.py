"""The policy in the simulator: same-seed groups, and evaluation that repeats whatever runs beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.collectors import Collector
from torchrl.envs import SerialEnv

from aim_rl.model import AIM, PRESETS
from aim_rl.model.text import word_tokenizer
from aim_rl.rl.policy import OBSERVATION, AimPolicy
from aim_rl.rollout.environments import RolloutConfig, make_env, make_envs
from aim_rl.rollout.groups import (
    CompletedRollouts,
    PartialRollouts,
    complete_groups,
    finished_rollouts,
    training_batches,
)
from aim_rl.runs.folder import one_thread
from envs.tabletop.task import task_class
from envs.wrappers import EpisodePrefix
from rewards import RewardConfig
from rewards.torchrl_transform import ValueMapRewardTransform

TINY = PRESETS["tiny"]
CONFIG = RolloutConfig(
    task="click_bell",
    setting="randomized",
    preset=TINY,
    tokenize=word_tokenizer(TINY),
    execute=TINY.execute,
    step_limit=32,
    workers=1,
    envs_per_worker=4,
    group_size=2,
    first_seed=40,
)


@pytest.fixture(scope="module")
def envs() -> SerialEnv:
    """Four environments in this process: seeds 40, 40, 41, 41, then 42, 42, 43, 43 and so on."""
    return make_envs(CONFIG, 0)


def test_unseen_wordings_reach_the_policy() -> None:
    task = task_class(CONFIG.task)
    for kind, templates in (("seen", task.instructions), ("unseen", task.unseen_instructions)):
        env = make_env(replace(CONFIG, instructions=kind), iter([EpisodePrefix(40)]))
        text = env.reset()["text"]
        wordings = [words.format(arm=arm) for words in templates for arm in ("left", "right")]
        assert any(torch.equal(text, CONFIG.tokenize(words)) for words in wordings)


def run(env: SerialEnv, model: AIM) -> dict[int, TensorDictBase]:
    """Seed -> the whole episode of an evaluation, up to the step limit."""
    policy = AimPolicy(model, CONFIG.execute)
    with one_thread():
        rollout = env.rollout(4, policy, break_when_any_done=False)
    return {int(rollout["seed"][row, 0]): rollout[row] for row in range(len(rollout))}


def test_a_group_starts_from_the_same_observation_and_groups_differ(envs: SerialEnv) -> None:
    first = envs.reset()
    assert first["decision"].flatten().tolist() == [0] * 4
    seeds = first["seed"].flatten().tolist()
    assert seeds[0] == seeds[1] == seeds[2] - 1 == seeds[3] - 1
    for key in (*OBSERVATION, "text", "head_camera_intrinsic", "head_camera_extrinsic"):
        assert torch.equal(first[0][key], first[1][key]), key
        assert torch.equal(first[2][key], first[3][key]), key
    assert not torch.equal(first[0]["head_camera"], first[2]["head_camera"])
    again = envs.reset()["seed"].flatten().tolist()
    assert again == [seed + 2 for seed in seeds]  # the pool of four runs two groups at a time


def test_evaluation_repeats(tiny_model: AIM) -> None:
    three = replace(CONFIG, envs_per_worker=3, group_size=1)
    first = run(make_envs(three, 0), tiny_model)
    torch.rand(7)  # whatever else was drawn
    again = run(make_envs(three, 0), tiny_model)
    assert list(first) == [40, 41, 42]
    for seed in first:
        for key in (
            "action",
            "value_map",
            ("next", "qpos_measured"),
            ("next", "head_camera"),
            ("next", "step_success"),
        ):
            assert torch.equal(first[seed][key], again[seed][key]), (seed, key)
    assert (first[40]["next", "qpos"] - first[41]["next", "qpos"]).abs().max() > 1e-2
    assert first[40]["next", "truncated"].flatten().tolist() == [False, False, False, True]  # 32 control steps


def test_an_episode_does_not_depend_on_the_environments_beside_it(tiny_model: AIM) -> None:
    alone = run(make_envs(replace(CONFIG, envs_per_worker=1, group_size=1), 0), tiny_model)[40]
    among = run(make_envs(replace(CONFIG, envs_per_worker=3, group_size=1), 0), tiny_model)[40]
    torch.testing.assert_close(alone["action"][0], among["action"][0], atol=1e-6, rtol=0)
    # A batch of another size rounds otherwise in the last bit, which physics in contact magnifies.
    torch.testing.assert_close(alone["next", "qpos"], among["next", "qpos"], atol=1e-2, rtol=0)
    assert torch.equal(alone["next", "step_success"], among["next", "step_success"])


def test_the_collector_and_complete_groups(envs: SerialEnv, tiny_model: AIM) -> None:
    """Real rollouts with exploration: complete same-seed groups, and the reward of what was executed."""
    policy = AimPolicy(tiny_model, CONFIG.execute, "initial_noise", 0.5)
    reward = ValueMapRewardTransform(RewardConfig(0.5, 1.0, "settled"), TINY.head_size)
    # Batches of 3 decisions, in which episodes of 4 end anywhere.
    collector = Collector(envs, policy, frames_per_batch=12, auto_register_policy_transforms=False)
    unfinished = PartialRollouts()
    groups = complete_groups(finished_rollouts(collector, unfinished), unfinished, group_size=2)
    stream = training_batches(groups, CompletedRollouts(), rollouts=4)
    seen: list[int] = []
    for batch in (reward(next(stream)) for _ in range(2)):  # one at a time: the storage is used again
        seeds = batch["seed"][:, 0, 0].tolist()
        assert len(seeds) == 4 and sorted(seeds)[::2] == sorted(seeds)[1::2]
        seen += seeds
        mask = batch["collector", "mask"]
        dense, sparse = batch["next", "reward_dense"], batch["next", "reward_sparse"]
        torch.testing.assert_close(batch["next", "reward"][..., 0], (0.5 * dense + sparse).sum(-1))
        assert not dense[~batch["next", "executed"]].any()
        steps = (batch["next", "executed"].sum(-1) * mask).sum(1)
        for row, length in enumerate(mask.sum(1).tolist()):
            assert mask[row, :length].all()
            assert batch["decision"][row, :length, 0].tolist() == list(range(length))
        assert (steps <= 32).all() and (steps[~batch["next", "terminated"].any(1)[:, 0]] == 32).all()
        for seed in set(seeds):
            a, b = (batch[row] for row, other in enumerate(seeds) if other == seed)
            assert torch.equal(a["head_camera"][0], b["head_camera"][0])  # the same scene ...
            assert torch.equal(a["value_map"][0], b["value_map"][0])  # ... judged by the same map ...
            assert not torch.equal(a["commanded_tcp"][0], b["commanded_tcp"][0])  # ... explored differently
    assert max(seen.count(seed) for seed in seen) == 2


def rollout(seed: int, length: int) -> TensorDictBase:
    return TensorDict({"seed": torch.full((length, 1), seed), "decision": torch.arange(length)[:, None]}, [length])


def test_incomplete_groups_wait() -> None:
    """Without a simulator: partners come in later rounds, and lengths differ."""
    rounds = [[rollout(1, 2), rollout(2, 4)], [rollout(3, 3), rollout(1, 1)], [rollout(2, 2), rollout(9, 1)]]
    stream = training_batches(complete_groups(rounds, PartialRollouts(), group_size=2), CompletedRollouts(), rollouts=2)
    found = [(group["seed"][:, 0, 0].tolist(), group["collector", "mask"].sum(1).tolist()) for group in stream]
    assert found == [([1, 1], [2, 1]), ([2, 2], [4, 2])]

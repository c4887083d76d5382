"""Episodes that a policy begins and the expert solves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from aim_rl.data.episode import Episode
from aim_rl.rollout.policy import Policy
from aim_rl.rollout.policy_recording import HANDOVER_SHARE, correct
from envs.base import TaskEnv
from envs.errors import UserError
from envs.tabletop.env import TabletopEnv
from envs.wrappers import EpisodePrefix

EXECUTE = 8


class FakePolicy:
    """Moves the left tool by 2 cm per decision along x and leaves the right one where it is."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(text=SimpleNamespace(tokenize=lambda _: torch.zeros(1, dtype=torch.long)))

    def __call__(self, observed: TensorDict) -> TensorDict:
        left, right = observed["left_endpose"], observed["right_endpose"]
        left = left + torch.tensor([0.02, 0, 0, 0, 0, 0, 0])
        open_gripper = torch.ones(1, 1)
        pose = torch.cat([left, open_gripper, right, open_gripper], 1)
        observed["action"] = pose[:, None].expand(-1, EXECUTE, -1)
        observed["value_map"] = torch.zeros(1, 2, 3, 8, 8)
        return observed


def corrected(seed: int, env: TaskEnv) -> Episode | None:
    return correct(cast(Policy, FakePolicy()), env, EpisodePrefix(seed), "clean")


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    return TabletopEnv("click_bell", head_size=(48, 64), wrist_size=(32, 32), action_mode="ee")


def test_the_expert_solves_the_scene_from_where_the_policy_came(env: TabletopEnv) -> None:
    episode = corrected(40, env)
    assert episode is not None and episode.success
    policys = int(episode.perturbed.sum())
    assert 1 <= policys <= round(env.step_limit * HANDOVER_SHARE)
    assert episode.perturbed[:policys].all() and len(episode) > policys
    moved = episode.left_endpose[policys, 0] - episode.left_endpose[0, 0]
    assert moved > 0.01 or policys < EXECUTE // 2
    assert (episode.contacts.time >= policys).any()
    assert np.array_equal(episode.action[:-1], episode.qpos[1:])


def test_how_long_the_policy_acts_is_drawn_per_scene(env: TabletopEnv) -> None:
    lengths = {episode.perturbed.sum() for seed in range(40, 44) if (episode := corrected(seed, env)) is not None}
    assert len(lengths) >= 3


@pytest.mark.parametrize("solved", [True, False], ids=["solved by the policy", "solved by nobody"])
def test_there_is_no_correction(env: TabletopEnv, solved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def move(_: object = None) -> bool:
        env.steps += 1
        return solved

    monkeypatch.setattr(env, "control", move)
    monkeypatch.setattr(env, "expert_step", move)
    assert corrected(40, env) is None
    handover = env.step_limit * HANDOVER_SHARE
    assert env.steps == 1 if solved else env.step_limit // 2 < env.steps <= env.step_limit // 2 + handover


def test_an_expert_that_plans_whole_episodes_cannot_take_over(env: TabletopEnv) -> None:
    with pytest.raises(UserError, match="leave out --backend robotwin"):
        TaskEnv.expert_step(env)

"""Demonstrations that begin where a policy has led the robot."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from aim_rl import collect
from aim_rl.backend import Backend
from aim_rl.checkpoint import save_checkpoint
from aim_rl.collect import CollectConfig
from aim_rl.model import AIM
from aim_rl.policy import AimPolicy
from envs.errors import UserError
from envs.tabletop.contacts import PICK, PLACE, ContactRecorder, Event
from envs.tabletop.env import TabletopEnv
from envs.wrappers import ChunkEnv

SEED = 5


def scene(policy: AimPolicy, mode: str = "joint") -> TabletopEnv:
    preset = policy.model.preset
    return TabletopEnv("click_bell", "clean", preset.head_size, preset.wrist_size, mode)


def test_the_expert_goes_on_from_where_the_policys_chunks_lead(tiny_model: AIM) -> None:
    """The first frame is what an environment shows after the same decisions, and only the expert's part is recorded."""
    policy = AimPolicy(tiny_model, tiny_model.preset.execute)
    decisions = np.random.default_rng([SEED, 1]).integers(collect.LED + 1)
    assert decisions == 4
    env = scene(policy)
    episode = collect.demonstrate(env, SEED, policy)
    env.close()
    assert episode is not None and len(episode.action) == env.steps - decisions * policy.execute
    chunks = ChunkEnv(scene(policy, "ee"), policy.execute)
    observation, info = chunks.reset(seed=SEED)
    start = observation["qpos"]
    text = tiny_model.text.tokenize(info["instruction"])
    for _ in range(decisions):
        state = TensorDict({key: torch.from_numpy(value)[None] for key, value in observation.items()}, [1])
        observation = chunks.step(policy(state.set("text", text[None]))["action"][0].numpy())[0]
    chunks.close()
    np.testing.assert_allclose(episode.qpos[0], observation["qpos"], atol=1e-6)
    np.testing.assert_array_equal(episode.head_camera[0], observation["head_camera"])
    assert np.abs(episode.qpos[0] - start).max() > 0.1  # rad: it has led somewhere


def test_an_episode_that_the_policy_solves_shows_no_recovery(tiny_model: AIM, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = AimPolicy(tiny_model, tiny_model.preset.execute)
    env, count = scene(policy), itertools.count(1)
    monkeypatch.setattr(env, "control", lambda action: next(count) == 11)
    assert collect.demonstrate(env, SEED, policy) is None and next(count) == 12
    env.close()


def test_contacts_count_from_the_first_recorded_frame() -> None:
    class Nothing:
        bodies = {}  # noqa: RUF012

        def contacts(self) -> list[object]:
            return []

    recorder = ContactRecorder(Nothing())  # pyright: ignore[reportArgumentType]
    recorder.poses = {"block": [np.full(7, float(frame)) for frame in range(20)]}
    events = [Event(kind, frame, 0, "block", np.zeros((2, 3))) for kind, frame in ((PICK, 3), (PLACE, 12), (PICK, 19))]
    contacts = collect.gather_contacts(events, recorder, frames=14, first=5)
    assert contacts.time.tolist() == [7, 7, 13, 13] and contacts.kind.tolist() == [PLACE, PLACE, PICK, PICK]
    assert contacts.body_poses[0, :, 0].tolist() == [float(frame) for frame in range(5, 19)]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "pictures of another size"),
        ({"full_size": True}, "leave out the other flag"),
        ({"simulator": Backend("robotwin")}, "leave out the other flag"),
        ({"task": "stack_blocks"}, "not for stack_blocks_two"),
    ],
)
def test_a_policy_that_cannot_lead(tmp_path: Path, tiny_model: AIM, more: dict[str, object], words: str) -> None:
    save_checkpoint(tmp_path, tiny_model, {"task": "click_bell", "stage": 1})
    given = {"task": "click_bell", "out": tmp_path / "new", "policy": tmp_path} | more
    with pytest.raises(UserError, match=words):
        collect.leader(CollectConfig(**given))  # pyright: ignore[reportArgumentType]

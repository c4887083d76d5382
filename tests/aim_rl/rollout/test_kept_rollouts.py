"""Training rollouts that are kept: what is noted, which are chosen, and that running them again gives the same."""

from __future__ import annotations

import functools
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from aim_rl.data.demonstrate import demonstrate
from aim_rl.data.episode import Episode
from aim_rl.data.files import episode_paths, read_episode, write_episode
from aim_rl.model.presets import PRESETS
from aim_rl.rollout import kept_rollouts
from aim_rl.rollout.kept_rollouts import RolloutNotes, disk_need, write_rollouts
from aim_rl.rollout.policy_recording import repeat
from envs.backend import TABLETOP
from envs.errors import UserError
from envs.wrappers import ChunkEnv, EpisodePrefix

from ..data.conftest import episode_of
from .fake_transport import FakeTransport

TINY, EXECUTE, DECISIONS = PRESETS["tiny"], 4, 3


def rollouts(*outcomes: tuple[int, bool, int]) -> TensorDict:
    """Rollouts (seed, success, control steps). Their actions count control steps up from 100 * seed.

    What was not executed is filled with others' numbers, as the padded storage of training is.
    """
    n = len(outcomes)
    executed = torch.zeros(n, DECISIONS * EXECUTE, dtype=torch.bool)
    success, mask = executed.clone(), torch.zeros(n, DECISIONS, dtype=torch.bool)
    for row, (_, solved, steps) in enumerate(outcomes):
        executed[row, :steps] = True
        success[row, steps - 1] = solved
        mask[row, : -(-steps // EXECUTE)] = True
        padded = mask[row].repeat_interleave(EXECUTE).logical_not()
        executed[row, padded] = success[row, padded] = True
    seeds = torch.tensor([seed for seed, *_ in outcomes])
    numbers = 100 * seeds[:, None] + torch.arange(DECISIONS * EXECUTE)
    chunks = (DECISIONS, EXECUTE)
    parts = {
        "seed": seeds[:, None, None].expand(n, DECISIONS, 1),
        "action": numbers[..., None].expand(-1, -1, 16).float().unflatten(1, chunks),
        "collector": {"mask": mask},
        "next": {"executed": executed.unflatten(1, chunks), "step_success": success.unflatten(1, chunks)},
    }
    return TensorDict(parts, [n, DECISIONS])


def chosen(notes: RolloutNotes, count: int) -> dict[int, int]:
    """Seed -> control steps."""
    return {prefix.seed: len(prefix.actions) for prefix in notes.latest(count)}


def test_the_last_scenes_that_were_solved_are_kept_with_what_was_executed(tmp_path: Path) -> None:
    notes = RolloutNotes(tmp_path)
    notes.add(0, rollouts((3, True, 12), (3, True, 5), (1, True, 6), (1, False, 12)))
    notes.add(1, rollouts((4, False, 12), (4, False, 12)))
    notes.add(2, rollouts((5, False, 12), (5, True, 9)))
    assert list(chosen(notes, 10)) == [1, 3, 5] and chosen(notes, 10)[5] == 9
    assert list(chosen(notes, 2)) == [3, 5]
    (last,) = notes.latest(1)
    assert np.array_equal(np.stack(last.actions), 500 + np.arange(9)[:, None] * np.ones(16))


def test_an_iteration_that_is_repeated_replaces_its_notes(tmp_path: Path) -> None:
    notes = RolloutNotes(tmp_path)
    notes.add(0, rollouts((1, True, 6)))
    notes.add(1, rollouts((2, True, 6)))
    notes.add(1, rollouts((2, False, 12)))
    assert chosen(notes, 10) == {1: 6}
    notes.add(1, rollouts((2, True, 7)))
    assert chosen(notes, 10) == {1: 6, 2: 7}


def test_notes_that_are_damaged_are_named(tmp_path: Path) -> None:
    notes = RolloutNotes(tmp_path)
    notes.add(0, rollouts((1, True, 6)))
    (file,) = notes.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"0000000\.safetensors is damaged .*; delete it"):
        notes.latest(10)


def test_a_rollout_that_is_run_again_is_the_same_with_every_frame_and_its_contacts() -> None:
    """The expert's actions in chunks, as training executes them; then again in an environment with another past."""
    make_env = functools.partial(TABLETOP.make, "click_bell", "clean", TINY.head_size, TINY.wrist_size)
    first, second = make_env(), make_env()
    expert = demonstrate(first, 21, "clean")
    assert expert is not None
    padding = np.repeat(expert.action[-1:], -len(expert) % EXECUTE, 0)
    rollout, solved = ChunkEnv(first, EXECUTE), False
    seen = [rollout.reset(seed=21)[0]]
    for chunk in np.split(np.concatenate([expert.action, padding]), (len(expert) + len(padding)) // EXECUTE):
        observation, _, solved, *_ = rollout.step(chunk)
        seen.append(observation)
    assert solved and len(seen) > 3
    demonstrate(second, 22, "clean")
    again = repeat(second, EpisodePrefix(21, tuple(expert.action)), "clean")
    assert again.success and len(again) == len(expert)
    for decision, observation in enumerate(seen[:-1]):
        for key in first.observation_space:
            assert np.array_equal(getattr(again, key)[decision * EXECUTE], observation[key]), (decision, key)
    assert np.array_equal(again.action[:-1], again.qpos[1:])
    assert np.array_equal(again.action[-1], seen[-1]["qpos"])
    assert again.contacts_recorded and again.contacts.kind.tolist() == expert.contacts.kind.tolist() == [2, 2]
    assert np.array_equal(again.contacts.time, expert.contacts.time)
    assert set(again.instructions) == set(expert.instructions)
    first.close()
    second.close()


class Repeaters:
    """Workers that write down what they are asked for; seed 9 does not succeed again."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, *_: Any) -> Any:
        return Repeater(self)


class Repeater:
    def __init__(self, all_of_them: Repeaters) -> None:
        self._all, self._seed = all_of_them, -1

    def ask(self, prefix: EpisodePrefix) -> None:
        self._seed = prefix.seed
        self._all.asked.append(self._seed)

    def answer(self, timeout: float) -> Any:
        episode = episode_of(head=(16, 16), wrist=(16, 16), seed=self._seed)
        episode.success = self._seed != 9
        return (episode,)

    def close(self) -> None:
        pass


def write(run: Path, kept: list[EpisodePrefix], repeaters: Repeaters) -> None:
    run.mkdir(exist_ok=True)
    write_rollouts(run, kept, TINY, lambda: None, "clean", 2, FakeTransport(repeaters, ready=-1))


KEPT = [EpisodePrefix(seed, (np.zeros(16, np.float32),) * 5) for seed in (7, 9, 11, 12)]


def test_writing_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up at the third episode."""

    def full(path: Path, episode: Episode) -> None:
        if "2" in path.stem:
            raise UserError(f"cannot write {path}: No space left on device")
        write_episode(path, episode)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left"):
        patch.setattr(kept_rollouts, "write_episode", full)
        write(tmp_path / "run", KEPT, Repeaters())
    before = {path: path.read_bytes() for path in episode_paths(tmp_path / "run")}
    assert len(before) == 2
    again = Repeaters()
    write(tmp_path / "run", KEPT, again)
    assert sorted(again.asked) == [11, 12]
    episodes = [read_episode(path) for path in episode_paths(tmp_path / "run")]
    assert [(episode.seed, episode.success) for episode in episodes] == [(7, True), (9, False), (11, True), (12, True)]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_disk_that_is_too_small_is_noticed_before_the_first_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk = namedtuple("Disk", "free")
    monkeypatch.setattr(kept_rollouts.shutil, "disk_usage", lambda _: Disk(disk_need(20, TINY) - 1))
    repeaters = Repeaters()
    with pytest.raises(UserError, match=r"cannot write 4 rollouts to .*; free some space and go on with --resume"):
        write(tmp_path, KEPT, repeaters)
    assert repeaters.asked == [] and list(tmp_path.iterdir()) == []


def test_the_disk_need_is_that_of_the_episodes(tmp_path: Path) -> None:
    """Randomized scenes: the files that are written take what was announced, or up to half less."""
    env = TABLETOP.make("click_bell", "randomized", PRESETS["small"].head_size, PRESETS["small"].wrist_size)
    episode = demonstrate(env, 5, "randomized")
    assert episode is not None
    write_episode(tmp_path / "episode.hdf5", episode)
    size, announced = (tmp_path / "episode.hdf5").stat().st_size, disk_need(len(episode), PRESETS["small"])
    assert announced / 2 < size < announced
    env.close()

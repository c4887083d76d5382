"""Recording processes that die: their seeds are recorded anew, and the dataset is the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aim_rl import collect
from aim_rl.collect import CollectConfig
from aim_rl.data.files import episode_path, episode_paths, read_episode
from aim_rl.rollout.worker import WorkerLost
from envs.backend import BackendOptions
from envs.errors import UserError
from envs.tabletop.env import TabletopEnv

from ..data.conftest import episode_of


class Recorder:
    """Stands in for `Worker`: seed 2 fails, seed 3 kills the first process that tries it, seed 9 each of them."""

    asked: list[int]

    def __init__(self, *_: Any) -> None:
        self._seed = -1

    def ask(self, seed: int) -> None:
        self._seed = seed
        Recorder.asked.append(seed)

    def answer(self, timeout: float) -> Any:
        if self._seed == 9 or (self._seed == 3 and Recorder.asked.count(3) == 1):
            raise WorkerLost("was killed by SIGKILL")
        return None if self._seed == 2 else episode_of(head=(16, 16), wrist=(16, 16), seed=self._seed)

    def close(self) -> None:
        pass


def last(workers: Iterable[Any], _: float) -> Any:
    """The processes answer in the order that suits the dataset least."""
    return list(workers)[-1]


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "Worker", Recorder)
    monkeypatch.setattr(collect, "ready", last)
    monkeypatch.setattr(Recorder, "asked", [], raising=False)


def test_a_lost_process_costs_its_episode_a_second_try(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="a recording process was killed by SIGKILL; another one records seed 3 anew"):
        failed = collect.collect(CollectConfig("stack_blocks_two", tmp_path, episodes=5, workers=2))
    assert [read_episode(path).seed for path in episode_paths(tmp_path)] == [0, 1, 3, 4, 5]
    assert failed == 1 and Recorder.asked.count(3) == 2


def test_seeds_of_other_uses_are_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 2 fails, so five episodes reach one seed further than five."""
    monkeypatch.setattr(collect.seeds, "REINFORCEMENT", 5)
    with (
        pytest.warns(UserWarning, match="seed 3 anew"),
        pytest.raises(UserError, match="4 episodes are all that the seeds from 0 on give"),
    ):
        collect.collect(CollectConfig("stack_blocks_two", tmp_path, episodes=5, workers=2))
    assert [read_episode(path).seed for path in episode_paths(tmp_path)] == [0, 1, 3, 4]


@pytest.mark.filterwarnings("ignore:a recording process")
def test_a_dataset_is_gone_on_with_as_it_began(tmp_path: Path) -> None:
    def record(episodes: int, **settings: Any) -> None:
        collect.collect(CollectConfig("stack_blocks_two", tmp_path, episodes=episodes, workers=2, **settings))

    record(3)
    episode_path(tmp_path, 1).unlink()
    record(4)  # what is there stays, whatever is missing before it
    files = [(path.stem, read_episode(path).seed) for path in episode_paths(tmp_path)]
    numbers, seeds = zip(*files, strict=True)
    assert numbers == tuple(f"episode_{number:07d}" for number in (0, 2, 3, 4)) and seeds == (0, 3, 4, 5)
    with pytest.raises(UserError, match="holds 4 episodes already"):
        record(3)
    with pytest.raises(UserError, match="holds episodes of --full-size False, not True"):
        record(5, full_size=True)
    with pytest.raises(UserError, match="holds episodes of --backend tabletop, not robotwin"):
        record(5, simulator=BackendOptions("robotwin"))


@pytest.mark.parametrize("frame", [0, 5])
def test_a_simulation_gone_wrong_is_no_demonstration(frame: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a recorded nor a dropped one: the process fails, and another one tries."""
    env = TabletopEnv("click_bell", head_size=(16, 16), wrist_size=(16, 16))
    observe, count = env.observe, itertools.count()

    def wrong() -> Any:
        observation = observe()
        return observation | {"qpos": np.full(14, np.nan, np.float32)} if next(count) == frame else observation

    monkeypatch.setattr(env, "observe", wrong)
    with pytest.raises(FloatingPointError, match="the simulator observed qpos as NaN"):
        collect.demonstrate(env, 0)
    env.close()


def test_a_long_task_gives_its_expert_half_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`EXPERT_LIMIT`, or half of the task's limit if that is more: an expert that stands still is watched so long."""
    monkeypatch.setattr(collect, "EXPERT_LIMIT", 6)
    env = TabletopEnv("click_bell", head_size=(16, 16), wrist_size=(16, 16))
    monkeypatch.setattr(env, "expert_action", lambda: env.observe()["qpos"].copy())
    for limit, waited in ((8, 6), (20, 10)):
        env.step_limit = limit
        assert collect.demonstrate(env, 0) is None and env.steps == waited
    env.close()


@pytest.mark.filterwarnings("ignore:a recording process")
def test_a_seed_that_kills_three_processes_ends_the_recording(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"was killed by SIGKILL, the third at seed 9; .*fewer --workers"):
        collect.collect(CollectConfig("stack_blocks_two", tmp_path, episodes=50, workers=2, seed=8))
    assert Recorder.asked.count(9) == 3

"""Recording processes that die: their seeds are recorded again, and the dataset is the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aim_rl.collect import CollectConfig, collect
from aim_rl.data.files import episode_path, episode_paths, read_episode
from aim_rl.rollout import seeds
from aim_rl.rollout.recording import record_demonstrations
from aim_rl.rollout.worker import WorkerLost
from aim_rl.runs import environment
from envs.backend import Backend
from envs.errors import UserError
from envs.wrappers import EpisodePrefix

from ..data.conftest import episode_of
from .fake_transport import FakeTransport

LAST = seeds.REINFORCEMENT - 1


class Recorders:
    """Makes workers that record nothing.

    Args:
        first: the expert fails seed first + 2; seed first + 3 kills the first process that tries it, seed 9 each one.
    """

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self.asked = Counter[int]()

    def __call__(self, *_: Any) -> Any:
        return Recorder(self)


class Recorder:
    def __init__(self, all_of_them: Recorders) -> None:
        self._all, self._seed = all_of_them, -1

    def ask(self, prefix: EpisodePrefix) -> None:
        self._seed = prefix.seed
        self._all.asked[prefix.seed] += 1

    def answer(self, timeout: float) -> Any:
        seed, first = self._seed, self._all.first
        if seed == 9 or (seed == first + 3 and self._all.asked[seed] == 1):
            raise WorkerLost("was killed by SIGKILL")
        return (None if seed == first + 2 else episode_of(head=(16, 16), wrist=(16, 16), seed=seed),)

    def close(self) -> None:
        pass


def record(out: Path, recorders: Recorders, **settings: Any) -> int:
    """Two processes, which answer in the order that suits the dataset least."""
    config = CollectConfig(task="stack_blocks_two", out=out, workers=2, **settings)
    return collect(config, FakeTransport(recorders, ready=-1))


def test_a_lost_process_costs_its_episode_a_second_try(tmp_path: Path) -> None:
    recorders = Recorders()
    warning = "a recording process was killed by SIGKILL; another one records seed 3 again"
    with pytest.warns(UserWarning, match=warning):
        failed = record(tmp_path, recorders, episodes=5)
    assert [read_episode(path).seed for path in episode_paths(tmp_path)] == [0, 1, 3, 4, 5]
    assert failed == 1 and recorders.asked[3] == 2


def test_no_process_runs_far_ahead_of_the_others(tmp_path: Path) -> None:
    """Episodes that are finished wait in memory for those before them."""
    recorders = Recorders()
    recorded = record_demonstrations(lambda: None, "clean", 0, 2, FakeTransport(recorders, ready=-1))
    assert next(recorded)[0] == 0
    assert max(recorders.asked) == 3  # two per process
    recorded.close()


def test_seeds_of_other_uses_are_not_recorded(tmp_path: Path) -> None:
    """One seed fails, so five episodes need one seed more than there are."""
    with (
        pytest.warns(UserWarning, match=f"seed {LAST - 1} again"),
        pytest.raises(UserError, match=f"4 episodes are all that the seeds from {LAST - 4} on give"),
    ):
        record(tmp_path, Recorders(LAST - 4), episodes=5, seed=LAST - 4)
    assert [read_episode(path).seed - LAST for path in episode_paths(tmp_path)] == [-4, -3, -1, 0]


@pytest.mark.filterwarnings("ignore:a recording process")
def test_a_dataset_is_continued_as_it_was_started(tmp_path: Path) -> None:
    record(tmp_path, Recorders(), episodes=3)
    episode_path(tmp_path, 1).unlink()
    record(tmp_path, Recorders(), episodes=4)  # the other episodes stay, and the gap
    files = [(path.stem, read_episode(path).seed) for path in episode_paths(tmp_path)]
    numbers, found = zip(*files, strict=True)
    assert numbers == tuple(f"episode_{number:07d}" for number in (0, 2, 3, 4)) and found == (0, 3, 4, 5)
    with pytest.raises(UserError, match="holds 4 episodes already"):
        record(tmp_path, Recorders(), episodes=3)
    with pytest.raises(UserError, match="holds episodes of --full-size False, not True"):
        record(tmp_path, Recorders(), episodes=5, full_size=True)
    with pytest.raises(UserError, match="holds episodes of --backend tabletop, not robotwin"):
        record(tmp_path, Recorders(), episodes=5, simulator=Backend("robotwin"))


@pytest.mark.filterwarnings("ignore:a recording process")
def test_a_dataset_remembers_how_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for commit, episodes in (("abc", 3), ("def", 4), ("ghi", 4)):  # the last one has nothing to do
        monkeypatch.setattr(environment, "_commit", lambda commit=commit: commit)
        monkeypatch.setattr("sys.argv", ["collect", "--episodes", str(episodes)])
        record(tmp_path, Recorders(), episodes=episodes)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["command"] == ["collect", "--episodes", "3"] and written["episodes"] == 4
    assert written["environment"]["commit"] == "def"
    assert [(entry["step"], entry["changed"]) for entry in written["history"]] == [
        (3, {"episodes": [3, 4], "environment.commit": ["abc", "def"]})
    ]
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.filterwarnings("ignore:a recording process")
def test_a_seed_that_kills_three_processes_ends_the_recording(tmp_path: Path) -> None:
    recorders = Recorders()
    with pytest.raises(UserError, match=r"was killed by SIGKILL, the third at seed 9; .*fewer --workers"):
        record(tmp_path, recorders, episodes=50, seed=8)
    assert recorders.asked[9] == 3


def test_a_hung_process_is_replaced(tmp_path: Path) -> None:
    """Where no process answers in time, the one that was asked first counts as hung."""

    class NobodyAtFirst(FakeTransport):
        calls = 0

        def first_ready(self, workers: Any, timeout: float) -> Any:
            self.calls += 1
            return None if self.calls == 1 else workers[0]

    recorders = Recorders()
    with pytest.warns(UserWarning, match="a recording process did not answer within 1800 s; .* records seed 0 again"):
        collect(CollectConfig(task="stack_blocks_two", out=tmp_path, episodes=2), NobodyAtFirst(recorders))
    assert [read_episode(path).seed for path in episode_paths(tmp_path)] == [0, 1]
    assert recorders.asked[0] == 2

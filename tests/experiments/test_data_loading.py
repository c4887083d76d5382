"""The measurement of data loading runs, and its tables hold what it says."""

from __future__ import annotations

from pathlib import Path

from aim_rl.data.files import episode_path, write_episode
from aim_rl.runs.folder import one_thread
from experiments.data_loading import DataLoadingConfig, data_loading

from ..aim_rl.data.conftest import episode_of


def test_speeds_of_two_kinds_and_memory_of_two_processes(tmp_path: Path) -> None:
    for number in range(2):
        write_episode(episode_path(tmp_path, number), episode_of(seed=number))
    with one_thread():
        table = data_loading(DataLoadingConfig(tmp_path, preset="tiny", batch_size=2, steps=1, turns=1))
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    assert [row[0] for row in rows[2:4]] == ["2 episodes in memory, no worker", "2 episodes on disk"]
    assert rows[2][2] == rows[2][4] == "100.0 % (100.0 .. 100.0)"
    assert all(float(row[1]) > 0 < float(row[3]) for row in rows[2:4])
    for _, before, held, more in rows[-2:]:
        assert 0 < float(before) < float(held) < 2 * float(before) and float(more) > 0

"""The timing of a decision runs wherever there is no GPU, and its floor is one."""

from __future__ import annotations

from aim_rl.runs.folder import one_thread
from experiments.decision_time import DecisionTimeConfig, decision_time


def test_a_decision_takes_longer_than_its_floor() -> None:
    with one_thread():
        table = decision_time(DecisionTimeConfig("tiny", repeats=3))
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[-2:]]
    assert [row[0] for row in rows] == ["world", "action"]
    for _, measured, floor, *_ in rows:
        assert float(measured) > float(floor) >= 0

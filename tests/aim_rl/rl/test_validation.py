"""The guard rail: what is kept, what is undone, what is handed over."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from aim_rl.model import AIM
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.validation import Validation

SCENES = range(900_000, 900_020)
TASK = {"task": "click_bell"}


def solved(count: int) -> dict[int, bool]:
    """The first so many scenes."""
    return {scene: number < count for number, scene in enumerate(SCENES)}


class Rail:
    """A policy whose successes are scripted, and a weight that tells its versions apart."""

    def __init__(self, run: Path, model: AIM, successes: list[int]) -> None:
        self.policy = AimPolicy(model, model.preset.execute)
        self._outcomes: Iterator[dict[int, bool]] = map(solved, successes)
        self.validation = Validation(run, self.policy, lambda: next(self._outcomes), every=5)

    @property
    def version(self) -> float:
        return self.policy.model.action.stream.head.bias[0].item()

    def validate(self) -> dict[str, float]:
        return self.validation.judge(self.validation.measure(), 5, TASK)

    def train(self, version: float) -> None:
        with torch.no_grad():
            self.policy.model.action.stream.head.bias[0] = version


def test_the_best_weights_are_handed_over(tmp_path: Path, tiny_model: AIM) -> None:
    rail = Rail(tmp_path, tiny_model, [8, 12, 10, 11])
    rail.train(0)
    rail.validation.begin(TASK)
    rail.train(1)
    metrics = rail.validate()
    assert (metrics.pop("validation/success_ci_low"), metrics.pop("validation/success_ci_high")) == pytest.approx(
        (0.387, 0.781), abs=1e-3
    )
    assert metrics == {
        "validation/success": 0.6,
        "validation/kept": 8,
        "validation/gained": 4,
        "validation/lost": 0,
    }
    rail.train(2)
    rail.validate()
    assert rail.version == 2 and rail.validation.rate == 1  # worse than the best, not than Stage I
    rail.train(3)
    pairs = rail.validation.finish(TASK)["validation"]
    assert rail.version == 1
    assert (pairs["kept"], pairs["gained"], pairs["lost"], pairs["neither"]) == (8, 4, 0, 8)
    best, metadata = load_checkpoint(tmp_path / "best")
    assert best.action.stream.head.bias[0] == 1 and metadata["validation_success"] == 0.6


def test_a_collapse_is_undone_at_half_the_rate(
    tmp_path: Path, tiny_model: AIM, capsys: pytest.CaptureFixture[str]
) -> None:
    rail = Rail(tmp_path, tiny_model, [10, 11, 4, 9])
    rail.train(0)
    rail.validation.begin(TASK)
    rail.train(1)
    rail.validate()
    rail.train(2)
    rail.validate()  # six scenes lost, none gained: p = 2 / 2^6
    assert rail.version == 1 and rail.validation.rate == 0.5
    assert "6 lost" in capsys.readouterr().out
    rail.train(3)
    rail.validate()  # one lost: chance
    assert rail.version == 3 and rail.validation.rate == 0.5


def test_stage_1_is_handed_over_where_nothing_was_better(tmp_path: Path, tiny_model: AIM) -> None:
    rail = Rail(tmp_path, tiny_model, [10, 9, 8])
    rail.train(0)
    rail.validation.begin(TASK)
    rail.train(1)
    rail.validate()
    rail.train(2)
    assert rail.validation.finish(TASK)["validation"]["difference"] == 0
    assert rail.version == 0


def test_a_run_that_continues_compares_with_the_same_stage_1(tmp_path: Path, tiny_model: AIM) -> None:
    rail = Rail(tmp_path, tiny_model, [6, 9])
    rail.train(0)
    rail.validation.begin(TASK)
    rail.train(1)
    rail.validate()
    state = copy.deepcopy(rail.validation.state_dict())
    json.dumps({name: value for name, value in state.items() if name != "weights"})  # as it is saved

    other = Rail(tmp_path, tiny_model, [7])
    other.validation.load_state_dict(state)
    other.validation.begin(TASK)  # measures nothing
    other.train(2)
    pairs = other.validation.finish(TASK)["validation"]
    assert (pairs["kept"], pairs["gained"]) == (6, 3) and other.version == 1


def test_it_is_due_after_whole_periods(tmp_path: Path, tiny_model: AIM) -> None:
    validation = Rail(tmp_path, tiny_model, []).validation
    assert [done for done in range(16) if validation.due(done)] == [5, 10, 15]


def test_it_is_not_due_again_in_a_run_that_continues(tmp_path: Path, tiny_model: AIM) -> None:
    rail = Rail(tmp_path, tiny_model, [10, 11])
    rail.validation.begin(TASK)
    rail.validate()
    other = Rail(tmp_path, tiny_model, []).validation
    other.load_state_dict(rail.validation.state_dict())
    assert not other.due(5) and other.due(10)

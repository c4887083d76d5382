"""What Stage II says before it begins."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from aim_rl.rl.config import FinetuneConfig, RolloutOptions
from aim_rl.rl.plan import Pace, duration, estimate, in_words, plan
from aim_rl.rl.ppo import PpoConfig
from envs.backend import Backend

CONFIG = FinetuneConfig(
    task="click_bell",
    iterations=10,
    validate_every=5,
    validation_episodes=30,
    evaluation_episodes=20,
    workers=2,
    rollout=RolloutOptions(group_size=2, num_groups=3, step_limit=16),
    rl=PpoConfig(epochs=4),
)


def test_the_plan_names_only_what_is_left() -> None:
    assert plan(CONFIG, train_stage1=True, done=0).splitlines() == [
        "Stage II, reinforcement learning of click_bell (clean):",
        "  1. demonstrations and Stage I, which is not shipped for this task",
        "  2. success of Stage I on 20 held-out scenes",
        "  3. 10 iterations of 6 episodes, and 30 validation scenes every 5 iterations",
        "  4. success of Stage II on 20 held-out scenes, and a table",
    ]
    bare = replace(CONFIG, validation_episodes=0)
    assert plan(bare, train_stage1=False, done=4).splitlines()[1:] == [
        "  1. 6 iterations of 6 episodes",
        "  2. success of Stage II on 20 held-out scenes, and a table",
    ]


@pytest.mark.parametrize(("cores", "busy"), [(1, 1), (2, 2), (8, 2)])
def test_the_estimate_counts_every_decision(monkeypatch: pytest.MonkeyPatch, cores: int, busy: int) -> None:
    """Decisions of 8 control steps: 2 per episode of training, 50 per evaluated one (`click_bell` has 400 steps)."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    rolled_out, watched = 10 * 6 * 2, 4 * 30 * 2 + 2 * 20 * 50  # validated as Stage I, after 5 and 10, and at the end
    seconds = rolled_out * (3.0 + 0.5) / busy + 4 * rolled_out * 0.25 + watched * (3.0 / busy + 0.5)
    assert estimate(CONFIG, Pace(3.0, 0.5, 0.25), 0, execute=8) == pytest.approx(seconds)


def test_the_estimate_of_a_run_that_continues_is_shorter() -> None:
    whole, rest = (estimate(CONFIG, Pace(3.0, 0.5, 0.25), done, execute=8) for done in (0, 6))
    assert 0 < rest < whole / 2


def test_robotwin_is_not_tried(tiny_model: object) -> None:
    robotwin = replace(CONFIG, simulator=Backend(backend="robotwin"))
    assert "progress lines" in duration(robotwin, tiny_model, 0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (80, "80 s"), (1500, "25 min"), (12_010, "3 h 20 min")])
def test_durations(seconds: float, words: str) -> None:
    assert in_words(seconds) == words

"""Evaluation when a worker is lost: every seed is still rolled out once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aim_rl.model import PRESETS
from aim_rl.model.text import word_tokenizer
from aim_rl.rollout.environments import RolloutConfig
from aim_rl.rollout.evaluation import EvaluationEnvs
from aim_rl.rollout.worker import WorkerLost
from envs.errors import UserError

from .fake_transport import FakeTransport

TINY = PRESETS["tiny"]
CONFIG = RolloutConfig(
    task="click_bell",
    setting="clean",
    preset=TINY,
    tokenize=word_tokenizer(TINY),
    execute=TINY.execute,
    workers=2,
    envs_per_worker=2,
    first_seed=40,
)


class Hosts:
    """Makes workers whose every decision ends their episodes; seed 43 kills as many of them as `deaths` says."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths

    def __call__(self, config: RolloutConfig, worker: int, finished: set[int]) -> Any:
        numbers = itertools.count(config.first_seed + worker, config.workers)
        return Host(self, (seed for seed in numbers if seed not in finished))


class Host:
    def __init__(self, all_of_them: Hosts, seeds: Any) -> None:
        self._all, self._seeds = all_of_them, seeds
        self._now: list[int] = []
        self._asked: Any = None

    def ask(self, request: Any) -> None:
        self._asked = request

    def answer(self, timeout: float) -> Any:
        before, self._now = self._now, [next(self._seeds), next(self._seeds)]
        if 43 in before and self._all.deaths:
            self._all.deaths -= 1
            raise WorkerLost("was killed by SIGKILL")
        if self._asked is None:
            before = []
        else:
            assert self._asked.shape == (2, 1, 16)
        return {"seed": np.array(self._now)[:, None]}, {seed: seed % 3 == 0 for seed in before}

    def close(self) -> None:
        pass


def test_evaluation_goes_on_when_a_process_dies() -> None:
    envs: Any = EvaluationEnvs(CONFIG, FakeTransport(Hosts(deaths=1)))
    assert envs.reset()["seed"].flatten().tolist() == [40, 42, 41, 43]
    chunks = torch.zeros(4, 1, 16)
    with pytest.warns(
        UserWarning, match="a simulator process was killed by SIGKILL; another one continues with its seeds"
    ):
        observations, ended = envs.step(chunks)
    assert observations["seed"].flatten().tolist() == [44, 46, 41, 43] and list(ended) == [40, 42]
    assert envs.step(chunks)[1] == {44: False, 46: False, 41: False, 43: False}


def test_a_machine_that_kills_everything_ends_the_evaluation() -> None:
    envs: Any = EvaluationEnvs(replace(CONFIG, first_seed=43, workers=1), FakeTransport(Hosts(deaths=9)))
    envs.reset()
    with pytest.warns(UserWarning), pytest.raises(UserError, match="the third in a row without a finished episode"):
        for _ in range(3):
            envs.step(torch.zeros(2, 1, 16))

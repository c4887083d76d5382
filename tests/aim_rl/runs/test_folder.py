"""What a run's folder says about the command that began it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aim_rl.runs.folder import command_of, new_run
from aim_rl.supervised.config import PretrainConfig


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "RUN", "--task", "click_bell", "--data", "my data"],
        ["--task", "click_bell", "--out=RUN", "--data", "my data"],
        ["--task", "click_bell", "--data", "my data"],
    ],
)
def test_the_command_of_a_run_is_without_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/aim_rl/pretrain.py", *arguments])
    run = new_run("click_bell", tmp_path, PretrainConfig(task="click_bell", data=Path("my data")))
    assert command_of(run) == "python -m aim_rl.pretrain --task click_bell --data 'my data'"

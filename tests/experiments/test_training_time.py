"""The timing of a training step runs wherever there is no GPU, with stand-ins for Wan's pretrained parts too."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from aim_rl.model import PRESETS
from aim_rl.runs.folder import one_thread
from experiments.training_time import TrainingTimeConfig, training_time

NARROW = {
    **{"head_size": (64, 128), "wrist_size": (32, 64), "depth": 2, "heads": 2, "head_dim": 12, "text_dim": 12},
    **{"width_x": 32, "width_m": 24, "width_a": 16, "ffn_x": 64, "ffn_m": 48, "ffn_a": 32, "text_length": 8},
}


@pytest.mark.parametrize("preset", ["tiny", "wan2.2-5b"])
def test_a_step_takes_longer_than_its_floor(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "wan2.2-5b", replace(PRESETS["wan2.2-5b"], **NARROW))
    with one_thread():
        line = training_time(TrainingTimeConfig(preset, batch_size=2, repeats=1))
    found = re.search(r"step (\S+) ms, floor (\S+) ms \(by FLOPs (\S+), by bytes (\S+)\)", line)
    assert found is not None, line
    step, floor, by_flops, by_bytes = map(float, found.groups())
    assert step > floor == max(by_flops, by_bytes) > 0

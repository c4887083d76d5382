"""Contacts added to RoboTwin's own episodes by repeating their seeds, against the fake checkout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aim_rl import label
from aim_rl.data.files import read_episode
from envs.errors import exit_cleanly
from envs.robotwin.env import RoboTwinEnv

from ..envs.robotwin.conftest import FakeCheckout, build
from .data.test_robotwin import write_legacy, write_main

SEEDS = (3, 8)
Write = Callable[..., Path]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCheckout:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return build(tmp_path / "RoboTwin")


@pytest.fixture
def joints(checkout: FakeCheckout) -> np.ndarray:
    """What RoboTwin's recorder saw of the expert: drive targets [frames, 14]."""
    env = RoboTwinEnv("stack_blocks_two", checkout.root, sys.executable, cameras=())
    env.restart(0)
    recording = env.record_expert(0, as_recorded=True)
    env.close()
    # Three motions of 40 physics steps: at the start, after steps 1, 16 and 31, and at the end.
    assert len(recording.frames) == 3 * 5 == checkout.events().count("picture")  # of the run that found it solved
    return np.array([frame["qpos"] for frame in recording.frames])


def run(root: Path, checkout: FakeCheckout) -> None:
    flags = ["--robotwin-root", str(checkout.root), "--robotwin-python", sys.executable]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["label", "--data", str(root), *flags])
        exit_cleanly(label.main)


def refused(root: Path, checkout: FakeCheckout, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a run that fails."""
    with pytest.raises(SystemExit) as ended:
        run(root, checkout)
    words = capsys.readouterr().err
    assert ended.value.code == 2 and words.startswith("error: ") and words.count("\n") == 1, words
    return words


def record(write: Write, root: Path, joints: np.ndarray) -> list[Path]:
    """Two episodes as RoboTwin leaves them, with the list of their seeds."""
    paths = [write(root, index, joints=joints) for index in range(2)]
    (paths[0].parent.parent / "seed.txt").write_text("".join(f"{seed} " for seed in SEEDS))
    return paths


@pytest.mark.parametrize("write", [write_main, write_legacy])
def test_the_recorded_seed_is_repeated_and_its_contacts_are_added(
    write: Write, tmp_path: Path, checkout: FakeCheckout, joints: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = record(write, tmp_path / "data", joints)
    before = read_episode(paths[0])
    assert not before.contacts_recorded
    checkout.events()
    run(tmp_path / "data", checkout)
    events = checkout.events()
    # Each scene is built once and its expert runs once.
    for what in ("expert {}", "setup {} eval False"):
        assert [line for line in events if line.split()[0] == what.split()[0]] == [what.format(seed) for seed in SEEDS]
    assert not [line for line in events if line.startswith("render")]
    for path in paths:
        after = read_episode(path)
        assert after.contacts_recorded and after.contacts.kind.tolist() == [0, 0, 1]  # a pick of two points, a place
        # The hand, closed from its first motion's end, lets go within the third.
        assert 0 < after.contacts.time[0] < 10 <= after.contacts.time[2] < len(after)
        for name in ("head_camera", "qpos", "action", "left_endpose", "head_camera_extrinsic"):
            assert np.array_equal(getattr(after, name), getattr(before, name)), name
        assert after.instructions == before.instructions
    assert "nothing to label" in refused(tmp_path / "data", checkout, capsys)


def test_an_interrupted_run_goes_on_with_what_is_left(
    tmp_path: Path, checkout: FakeCheckout, joints: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = record(write_main, tmp_path / "data", joints)
    untouched = paths[0].read_bytes()
    moved = joints.copy()
    moved[4, 0] += 0.5
    write_main(tmp_path / "data", 0, joints=moved)
    strange = paths[0].read_bytes()
    words = refused(tmp_path / "data", checkout, capsys)
    assert "1 episodes were not labelled" in words and "0.500 rad" in words and str(paths[0]) in words
    assert paths[0].read_bytes() == strange and read_episode(paths[1]).contacts_recorded
    paths[0].write_bytes(untouched)
    checkout.events()
    run(tmp_path / "data", checkout)
    assert f"expert {SEEDS[1]}" not in checkout.events()
    assert not list(paths[0].parent.glob(".*"))


def test_an_expert_that_takes_another_time(
    tmp_path: Path, checkout: FakeCheckout, joints: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    record(write_main, tmp_path / "data", joints[:-1])
    assert f"takes {len(joints)} frames instead of {len(joints) - 1}" in refused(tmp_path / "data", checkout, capsys)


def test_a_recorded_seed_is_repeated_whatever_its_verdict(
    tmp_path: Path, checkout: FakeCheckout, joints: np.ndarray
) -> None:
    paths = record(write_main, tmp_path / "data", joints)
    env = RoboTwinEnv("stack_blocks_two", checkout.root, sys.executable, cameras=())
    checkout.misbehave(unsolved=[SEEDS[0]])
    env.restart(SEEDS[0])
    assert env.scene_seed != SEEDS[0]
    env.close()
    checkout.misbehave()
    run(tmp_path / "data", checkout)
    assert all(read_episode(path).contacts_recorded for path in paths)
    assert f"expert {SEEDS[0]}" in checkout.events()


def test_a_seed_that_is_not_known(
    tmp_path: Path, checkout: FakeCheckout, joints: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = record(write_main, tmp_path / "data", joints)
    seeds = paths[0].parent.parent / "seed.txt"
    for content in ("3", "3 x"):
        seeds.write_text(content)
        assert f"{seeds} has no seed for episode 1" in refused(tmp_path / "data", checkout, capsys)
    seeds.unlink()
    assert f"there is no {seeds}" in refused(tmp_path / "data", checkout, capsys)


def test_a_configuration_that_the_checkout_lacks(
    tmp_path: Path, checkout: FakeCheckout, joints: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    record(write_main, tmp_path / "data", joints)
    (tmp_path / "data" / "demo_clean").rename(tmp_path / "data" / "my_config")
    assert "has no configuration 'my_config'" in refused(tmp_path / "data", checkout, capsys)
    assert json.loads((checkout.configs / "demo_clean.yml").read_text())

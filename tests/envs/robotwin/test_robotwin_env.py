"""The RoboTwin backend against a fake checkout: what a user of a real one relies on."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.errors import UserError
from envs.robotwin import worker
from envs.robotwin.checkout import open_checkout
from envs.robotwin.client import Worker, WorkerLost
from envs.robotwin.env import STRIDE, RoboTwinEnv

from .conftest import FakeCheckout, build

Make = Callable[..., RoboTwinEnv]


def at(joint: float) -> np.ndarray:
    """An action that sends the left arm's first joint to `joint` rad and opens the grippers."""
    action = np.zeros(14, np.float32)
    action[[0, 6, 13]] = [joint, 1.0, 1.0]
    return action


def test_gymnasium_checker_passes(make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about observations without bounds
        check_env(make(), skip_render_check=True)


def test_only_the_cameras_asked_for_are_rendered_once_per_observation(make: Make, checkout: FakeCheckout) -> None:
    env = make(cameras=("head_camera", "left_camera"))
    observation, _ = env.reset(seed=1)
    assert observation["head_camera"].shape == (24, 32, 3) and observation["left_camera"].shape == (12, 16, 3)
    assert "right_camera" not in observation
    checkout.events()
    env.control(at(0.1))
    env.control(at(0.9))  # succeeds, upon which RoboTwin itself would render four cameras
    assert not [line for line in checkout.events() if line.startswith("render")]
    env.observe()
    rendered = [line for line in checkout.events() if line.startswith("render")]
    assert rendered == ["render head_camera 24x32", "render left_camera 12x16"]


@pytest.mark.parametrize(("shader", "asked"), [("default", {"shader default"}), ("rt", {"shader rt", "ray tracing"})])
def test_the_default_shader_unless_asked(make: Make, checkout: FakeCheckout, shader: str, asked: set[str]) -> None:
    make(shader=shader).restart(0)
    assert {line for line in checkout.events() if line.startswith(("shader", "ray"))} == asked


def test_a_seed_shows_the_same_scene_again_in_this_process_and_in_another(make: Make) -> None:
    env = make()
    first, _ = env.reset(seed=3)
    env.reset(seed=4)
    for again in (env.reset(seed=3)[0], make().reset(seed=3)[0]):
        assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["head_camera"], env.reset(seed=4)[0]["head_camera"])


def test_the_planners_random_numbers_begin_anew_with_every_scene(make: Make, checkout: FakeCheckout) -> None:
    env = make()
    env.restart(0)
    checkout.events()
    env.restart(0)
    assert checkout.events().count("planner True") == 2  # one of each arm


def test_unstable_and_unsolved_seeds_are_skipped_and_remembered(make: Make, checkout: FakeCheckout) -> None:
    checkout.misbehave(unstable=[5], unsolved=[5 + STRIDE])
    env = make()
    _, info = env.reset(seed=5)
    assert (info["seed"], info["scene_seed"]) == (5, 5 + 2 * STRIDE)
    assert [line for line in checkout.events() if line.startswith("expert")] == [
        f"expert {seed}" for seed in (5 + STRIDE, 5 + 2 * STRIDE)
    ]
    _, info = make().reset(seed=5)
    assert info["scene_seed"] == 5 + 2 * STRIDE
    assert not [line for line in checkout.events() if line.startswith("expert")]


def test_verdicts_hold_for_one_version_of_the_checkout(make: Make, checkout: FakeCheckout) -> None:
    make().restart(0)
    (checkout.root / "envs" / "new.py").write_text("# changed")
    checkout.events()
    make().restart(0)
    assert "expert 0" in checkout.events()


def test_the_version_names_the_commit_also_of_changed_code(checkout: FakeCheckout) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(checkout.root), "-c", "user.name=a", "-c", "user.email=b", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def version() -> str:
        return open_checkout(checkout.root, "stack_blocks_two").version

    for words in (["init"], ["add", "."], ["commit", "-m", "c"]):
        git(*words)
    assert version() == (commit := git("rev-parse", "HEAD"))
    (checkout.configs / "demo_clean.yml").write_text("changed")
    assert version().startswith(f"{commit}-files-")


def test_an_expert_that_raises_does_not_solve_the_seed_and_is_never_asked_again(
    make: Make, checkout: FakeCheckout
) -> None:
    checkout.misbehave(place="expert", how="raise", once=True)
    _, info = make().reset(seed=5)
    assert info["scene_seed"] == 5 + STRIDE and checkout.events().count("expert 5") == 1
    _, info = make().reset(seed=5)
    assert info["scene_seed"] == 5 + STRIDE
    assert not [line for line in checkout.events() if line.startswith("expert")]


def test_an_expert_that_solves_nothing_is_one_sentence(make: Make, checkout: FakeCheckout) -> None:
    checkout.misbehave(place="expert", how="raise")
    env = make()
    with pytest.raises(UserError, match=r"solved none of 20 scenes.*'not solved'.*\.log"):
        env.restart(0)
    env.close()
    assert "RuntimeError: the fake raises" in env.log.read_text()  # kept, since the error names it


def test_success_terminates_and_the_step_limit_truncates(make: Make) -> None:
    env = make()
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(at(0.9))
    assert (reward, terminated, truncated, bool(info["is_success"])) == (1.0, True, False, True)
    env.reset(seed=0)
    ends = [env.step(at(0.1))[2:4] for _ in range(5)]  # the fake itself would go on to 1000
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_a_tasks_own_smaller_step_limit_does_not_stop_the_robot(make: Make, checkout: FakeCheckout) -> None:
    checkout.misbehave(step_lim=2)
    env = make()
    env.reset(seed=0)
    for _ in range(2):
        env.step(at(0.1))
    assert env.step(at(0.9))[2]


def test_success_is_looked_for_after_every_physics_step_and_never_else(make: Make, checkout: FakeCheckout) -> None:
    for servo in (False, True):
        env = make(servo=servo)
        env.reset(seed=0)
        checkout.events()
        env.step(at(0.3))
        events = checkout.events()
        assert events.count("physics") == events.count("check") > 0


def test_servo_takes_fifteen_physics_steps_and_waypoints_as_long_as_they_take(
    make: Make, checkout: FakeCheckout
) -> None:
    counts = {}
    for servo in (False, True):
        env = make(servo=servo)
        env.restart(0)
        checkout.events()
        env.control(at(0.1))
        env.control(at(0.4))
        counts[servo] = checkout.events().count("physics")
    assert counts == {False: 15 + 10 + 15 + 30, True: 30}


def test_commanded_and_measured_joints_differ(make: Make) -> None:
    env = make(servo=True)
    env.restart(0)
    action = at(0.4)
    action[13] = 0.0
    env.control(action)
    observation = env.observe()
    np.testing.assert_allclose(observation["qpos"], action)
    assert 0 < abs(observation["qpos_measured"] - action)[0] < 0.1
    assert observation["qpos_measured"][13] > 0  # a finger's position, which RoboTwin's own reading does not give
    assert {value.dtype for value in observation.values()} == {np.dtype("float32"), np.dtype("uint8")}


@pytest.mark.parametrize("mode", ["joint", "ee", "delta_ee"])
def test_bad_actions_are_refused_before_anything_moves(make: Make, checkout: FakeCheckout, mode: str) -> None:
    env = make(action_mode=mode)
    env.restart(0)
    checkout.events()
    size = 16 if mode == "ee" else 14
    for bad in (np.zeros(size - 1), np.zeros(size + 1), np.full(size, np.nan), np.full(size, np.inf)):
        with pytest.raises(ValueError, match=r"shape|NaN"):
            env.control(bad)
    if mode == "ee":
        with pytest.raises(ValueError, match="zero quaternion"):
            env.control(np.zeros(16))
    assert checkout.events() == [] and env.steps == 0


def test_grippers_are_clipped_and_quaternions_normalised(make: Make, checkout: FakeCheckout) -> None:
    env = make(action_mode="ee")
    env.restart(0)
    checkout.events()
    env.control(np.array([0, 0, 1, 2, 0, 0, 0, 3.0] * 2))
    assert checkout.events()[0] == "ee " + " ".join(["0.000 0.000 1.000 1.000 0.000 0.000 0.000 1.000"] * 2)


def test_instructions_are_of_the_split_asked_for(make: Make) -> None:
    for split in ("seen", "unseen"):
        env = make(instructions=split)
        env.restart(0)
        assert env.instruction.startswith(f"{split} ") and env.instruction.endswith("the red block")


@pytest.mark.parametrize(
    ("place", "how"),
    [
        *(("setup", "die"), ("expert", "die"), ("act", "die"), ("render", "die"), ("setup", "hang"), ("act", "hang")),
        *(("setup", "raise"), ("expert", "raise"), ("act", "raise"), ("render", "raise")),
    ],
)
def test_a_lost_process_is_replaced_and_the_episode_goes_on(
    make: Make, checkout: FakeCheckout, monkeypatch: pytest.MonkeyPatch, place: str, how: str
) -> None:
    actions = [at(0.1), at(0.2), at(0.3)]
    whole, _ = (env := make()).reset(seed=7)
    for action in actions:
        whole = env.step(action)[0]
    (checkout.root.parent / "cache").rename(checkout.root.parent / "forgotten")  # so that the expert runs again
    monkeypatch.setattr(worker, "receive", checkout.receive_unless_it_hangs)
    env = make()
    what = {"die": "exit code 3", "hang": "did not answer", "raise": "CUDA out of memory"}[how]
    checkout.misbehave(place=place, how=how, skip=1 if place == "act" else 0, once=True, text=what)
    with pytest.warns(UserWarning, match=rf"(?=.*{what}).*\.log"):
        observation, _ = env.reset(seed=7)
        for action in actions:
            observation = env.step(action)[0]
    assert env.restarts == 1 and env.info(False)["restarts"] == 1
    assert all(np.array_equal(whole[key], observation[key]) for key in whole)


def test_a_process_that_never_answers_is_lost(tmp_path: Path) -> None:
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text("#!/bin/sh\nexec sleep 1000\n")
    python.chmod(0o755)
    log.touch()
    with pytest.raises(WorkerLost, match="did not answer within 0 s at setup"):
        Worker(python, tmp_path, log, timeout=0.01).ask("setup", {})


def test_an_action_that_always_kills_the_process_ends_the_episode_but_not_the_run(
    make: Make, checkout: FakeCheckout
) -> None:
    env = make()
    env.reset(seed=0)
    checkout.misbehave(place="act", how="die")
    with pytest.warns(UserWarning, match="ends the episode|starting it again"):
        _, reward, terminated, truncated, _ = env.step(at(0.9))
    assert (reward, terminated, truncated) == (0.0, False, True)
    checkout.misbehave()
    env.reset(seed=0)
    assert env.step(at(0.9))[2]


def test_a_scene_that_always_kills_the_process_is_skipped(make: Make, checkout: FakeCheckout) -> None:
    env = make()
    checkout.misbehave(breaking=[5])
    with pytest.warns(UserWarning, match="another scene stands in for seed 5|starting it again"):
        env.restart(5)
    assert (env.scene_seed, env.restarts) == (5 + STRIDE, 3)


def test_a_process_that_cannot_be_kept_alive_ends_in_one_sentence(make: Make, checkout: FakeCheckout) -> None:
    checkout.misbehave(place="setup", how="die")
    env = make()
    warned = pytest.warns(UserWarning, match="starting it again|another scene")
    with warned, pytest.raises(WorkerLost, match=r"exit code 3.*\.log"):
        env.reset(seed=0)
    assert env.restarts == 6  # three processes on one scene and on another: nobody waits for twenty


@pytest.mark.parametrize("layout", ["main", "stable_2.0", "RLinf_support"])
def test_layouts_are_told_apart(make: Make, tmp_path: Path, layout: str) -> None:
    env = make(root=build(tmp_path / "other", layout).root)
    assert env.checkout.layout == layout and env.step_limit == 5
    env.reset(seed=0)

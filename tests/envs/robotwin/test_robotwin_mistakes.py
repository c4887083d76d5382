"""What goes wrong in setting RoboTwin up: each its own sentence. And nothing is left of a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest

from envs.errors import UserError
from envs.robotwin.env import RoboTwinEnv

from .conftest import SMALL, FakeCheckout

Make = Callable[..., RoboTwinEnv]


def sentence(make: Make, **changes: object) -> str:
    """What the user reads."""
    with pytest.raises(UserError) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_no_checkout(make: Make, tmp_path: Path) -> None:
    assert f"{tmp_path} is no RoboTwin checkout" in sentence(make, root=tmp_path)


def test_a_layout_that_is_not_known(make: Make, checkout: FakeCheckout) -> None:
    checkout.configs.rename(checkout.root / "elsewhere")
    assert "main, stable_2.0 or RLinf_support" in sentence(make)


def test_a_task_that_this_checkout_lacks(make: Make, checkout: FakeCheckout) -> None:
    (checkout.root / "envs" / "stack_blocks_two.py").rename(checkout.root / "envs" / "stack_blocks_three.py")
    assert "no task 'stack_blocks_two'" in (words := sentence(make)) and "'stack_blocks_three'" in words


def test_a_configuration_that_this_checkout_lacks(make: Make) -> None:
    assert "it has demo_clean, demo_randomized" in sentence(make, config="demo_hard")


def test_missing_assets(make: Make, checkout: FakeCheckout) -> None:
    embodiment = checkout.root / "assets" / "embodiments" / "aloha-agilex"
    (checkout.root / "assets" / "objects").rmdir()
    assert "assets/objects" in sentence(make)
    (checkout.root / "assets" / "objects").mkdir()
    embodiment.rename(checkout.root / "aloha-agilex")
    assert "assets are missing" in (words := sentence(make)) and "_download_assets.sh" in words
    embodiment.parent.rmdir()
    assert "has no assets" in sentence(make)


def test_a_task_whose_models_are_missing(make: Make, checkout: FakeCheckout) -> None:
    task = checkout.root / "envs" / "stack_blocks_two.py"
    load = "from envs.utils.create_actor import create_actor; create_actor('020_hammer').set_mass(0.001)"
    task.write_text(task.read_text().replace("super()._init_task_env_(**settings)", load))
    env = make()
    with pytest.raises(UserError, match=r"assets are missing \(assets/objects/020_hammer\)"):
        env.restart(0)


def test_assets_that_are_missing_where_modules_load(make: Make, checkout: FakeCheckout) -> None:
    task = checkout.root / "envs" / "stack_blocks_two.py"
    task.write_text("open('./assets/objects/objaverse/list.json')\n" + task.read_text())
    assert "assets are missing (./assets/objects/objaverse/list.json)" in sentence(make)


@pytest.mark.parametrize("place", ["setup", "expert"])
def test_models_of_which_nothing_is_there(make: Make, checkout: FakeCheckout, place: str) -> None:
    words = "No available model_data.json files found for 063_tabletrashbin"
    checkout.misbehave(place=place, how="raise", text=words)
    env = make()
    with pytest.raises(UserError, match=rf"assets are missing \({words}\).*_download_assets.sh") as caught:
        env.restart(0)
    assert type(caught.value) is UserError and not env.restarts  # nothing that another process would do better


@pytest.mark.parametrize("arms", [[["joint"] * 7] * 2, [["joint"] * 6]])
def test_an_embodiment_of_another_arm_count(make: Make, checkout: FakeCheckout, arms: list[list[str]]) -> None:
    path = checkout.root / "assets" / "embodiments" / "aloha-agilex" / "config.yml"
    path.write_text(json.dumps({"arm_joints_name": arms}))
    assert "two arms of 6" in sentence(make)


def test_missing_curobo(make: Make, checkout: FakeCheckout) -> None:
    planner = checkout.root / "envs" / "robot" / "planner.py"
    (checkout.root / "curobo.py").unlink()
    assert "cuRobo cannot be imported" in sentence(make)
    planner.write_text("CuroboPlanner = None")  # as on RLinf_support
    assert "cuRobo cannot be imported" in sentence(make)


def test_an_interpreter_that_lacks_what_robotwin_imports(make: Make, checkout: FakeCheckout) -> None:
    (checkout.root / "envs" / "robot" / "planner.py").write_text("import mplib_that_nobody_has")
    assert "is not the interpreter that RoboTwin was installed into" in (words := sentence(make))
    assert "mplib_that_nobody_has" in words


@pytest.mark.parametrize(("python", "words"), [("/nowhere/python", "cannot run"), ("/bin/false", "exit code 1")])
def test_an_interpreter_that_is_none(make: Make, python: str, words: str) -> None:
    assert words in (said := sentence(make, python=python)) and python in said


def test_an_interpreter_may_be_named_from_here_or_from_home(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "venv").symlink_to(Path(sys.executable).parent.parent)  # whole: Python 3.12 wants its pyvenv.cfg
    name = Path("venv", "bin", Path(sys.executable).name)
    for python in (f"{name}", f"~/{name}"):
        assert make(python=python).python == tmp_path / name


def test_an_interpreter_may_be_a_script_that_starts_it(make: Make, checkout: FakeCheckout, tmp_path: Path) -> None:
    plan_with_a_process(checkout)
    (script := tmp_path / "python").write_text(f'#!/bin/sh\n{sys.executable} "$@"\n')  # without exec
    script.chmod(0o755)
    env = make(python=script)
    env.restart(0)
    assert env._worker is not None
    env._worker._process.kill()  # the script's process alone
    assert all(ended(pid) for pid in planners(checkout))


def test_what_robotwin_prints_is_in_the_log_that_an_error_names(make: Make, checkout: FakeCheckout) -> None:
    (checkout.root / "envs" / "robot" / "planner.py").write_text("print('a hint for the user'); raise ValueError")
    log = sentence(make).split("log: ")[1].split(")")[0]
    assert "a hint for the user" in Path(log).read_text()


def test_gym_make_chooses_the_backend(checkout: FakeCheckout) -> None:
    arguments = {"backend": "robotwin", "root": checkout.root, "python": sys.executable, **SMALL}
    env = gym.make("RoboTwin/stack_blocks_two-v0", **arguments)
    assert isinstance(env.unwrapped, RoboTwinEnv)
    env.close()


PARENT = """
import os, sys, time
from envs.robotwin.env import RoboTwinEnv
sizes = {"head_size": (8, 8), "wrist_size": (8, 8)}
envs = [RoboTwinEnv("stack_blocks_two", sys.argv[1], sys.executable, **sizes) for _ in range(int(sys.argv[3]))]
env = envs[0]
env.restart(0)
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(1000)  # a child that holds the channel open
print(*(env._worker._process.pid for env in envs), flush=True)
env.control([0.1] * 14) if sys.argv[2] == "busy" else time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("situation", "end"),
    [
        *(("idle", signal.SIGKILL), ("fork", signal.SIGKILL), ("busy", signal.SIGKILL), ("planner", signal.SIGKILL)),
        ("idle", signal.SIGINT),
    ],
)
def test_no_process_is_left_when_the_parent_ends(checkout: FakeCheckout, situation: str, end: signal.Signals) -> None:
    count = 1
    if situation == "busy":
        checkout.misbehave(place="act", how="hang")
    if situation == "planner":
        count = 4  # who ends first, a process or what it has started, is a race
        plan_with_a_process(checkout)
    command = [sys.executable, "-c", PARENT, str(checkout.root), situation, str(count)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert parent.stdout is not None
        left = [int(word) for word in parent.stdout.readline().split()]
        left += planners(checkout)
        assert len(left) == (2 * count if situation == "planner" else 1)
        for pid in left:
            os.kill(pid, 0)
        parent.send_signal(end)
        parent.wait(300)
        assert all(ended(pid) for pid in left)
    finally:
        with contextlib.suppress(ProcessLookupError):  # nobody of the group is left, other than where it forked
            os.killpg(parent.pid, signal.SIGKILL)


def test_what_a_process_has_started_ends_with_it(make: Make, checkout: FakeCheckout) -> None:
    plan_with_a_process(checkout)
    env = make()
    assert env._worker is not None
    env._worker._process.kill()  # while nobody asks it anything
    assert all(ended(pid) for pid in planners(checkout))


def plan_with_a_process(checkout: FakeCheckout) -> None:
    """Gives the fake a planner that runs in a process of its own, as RoboTwin's does where its arms differ."""
    (checkout.root / "envs" / "robot" / "planner.py").write_text(
        "import subprocess\nCuroboPlanner = object\n"
        "open('planner.pid', 'a').write(f\"{subprocess.Popen(['sleep', '1000']).pid}\\n\")\n"
    )


def planners(checkout: FakeCheckout) -> list[int]:
    path = checkout.root / "planner.pid"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def ended(pid: int) -> bool:
    """Whether a process ends within a generous time; a zombie that nobody has fetched yet has ended, too."""
    for _ in range(6000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_closing_ends_the_process_and_what_it_started(make: Make, checkout: FakeCheckout) -> None:
    plan_with_a_process(checkout)
    env = make()
    (child,) = planners(checkout)
    env.close()
    assert ended(child)

"""What the tabletop promises to Gymnasium, Stable-Baselines3 and TorchRL users."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest
import sapien
import torch
from gymnasium.utils.env_checker import check_env

import envs
from envs.errors import UserError
from envs.tabletop import kinematics as kin
from envs.tabletop.cameras import camera_extrinsics, camera_intrinsic
from envs.tabletop.env import TabletopEnv
from envs.tabletop.poses import matrix_from_quat

TASKS = (
    "beat_block_hammer",
    "click_bell",
    "handover_block",
    "place_empty_cup",
    "stack_blocks_three",
    "stack_blocks_two",
)
ROBOTWIN_TASKS = """
adjust_bottle beat_block_hammer blocks_ranking_rgb blocks_ranking_size click_alarmclock click_bell dump_bin_bigbin
grab_roller handover_block handover_mic hanging_mug lift_pot move_can_pot move_pillbottle_pad move_playingcard_away
move_stapler_pad open_laptop open_microwave pick_diverse_bottles pick_dual_bottles place_a2b_left place_a2b_right
place_bread_basket place_bread_skillet place_burger_fries place_can_basket place_cans_plasticbox
place_container_plate place_dual_shoes place_empty_cup place_fan place_mouse_pad place_object_basket
place_object_scale place_object_stand place_phone_stand place_shoe press_stapler put_bottles_dustbin
put_object_cabinet rotate_qrcode scan_object shake_bottle shake_bottle_horizontally stack_blocks_three
stack_blocks_two stack_bowls_three stack_bowls_two stamp_seal turn_switch
"""
SMALL = {"head_size": (24, 32), "wrist_size": (16, 16)}


def make(task: str = "stack_blocks_two", **kwargs: object) -> TabletopEnv:
    return TabletopEnv(task, **(SMALL | kwargs))  # type: ignore[arg-type]


def test_all_tasks_and_the_alias_are_registered() -> None:
    robotwin = set(ROBOTWIN_TASKS.split())
    assert len(robotwin) == 50 and {*TASKS, *robotwin} <= set(envs.task_names())
    for task in (*TASKS, "stack_blocks"):
        assert f"RoboTwin/{task}-v0" in gym.registry
    alias = gym.make("RoboTwin/stack_blocks-v0", **SMALL).unwrapped
    assert isinstance(alias, TabletopEnv) and alias.task_class.name == "stack_blocks_two"


def test_camera_matrices_follow_from_the_joints() -> None:
    env = make()
    env.restart(0)
    action = env.observe()["qpos"] + np.array([0.3, 0.2, 0.1, 0.2, -0.3, 0.4, 0, -0.2, 0.3, 0.2, 0.1, 0.2, -0.3, 0])
    for _ in range(5):
        env.control(action)
    seen = env.observe()
    for camera, extrinsic in camera_extrinsics(seen["qpos_measured"][None]).items():
        np.testing.assert_allclose(extrinsic[0], seen[f"{camera}_extrinsic"], atol=2e-6)
        intrinsic = camera_intrinsic(seen[camera].shape[:2])
        np.testing.assert_allclose(intrinsic, seen[f"{camera}_intrinsic"], rtol=1e-6)


def test_a_point_that_a_body_lacks_is_named_with_those_it_has() -> None:
    env = make("click_bell")
    env.restart(0)
    with pytest.raises(ValueError, match=r"body 'table' has no point 'rim' \(it has: none\); Parts.build"):
        env.scene.bodies["table"].point("rim")


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match="click_bell"):
        envs.resolve_task("clik_bel")


def test_gymnasium_checker_passes() -> None:
    check_env(gym.make("RoboTwin/click_bell-v0", **SMALL).unwrapped, skip_render_check=True)


def test_stable_baselines3_checker_passes() -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(make("place_empty_cup", head_size=(40, 40), wrist_size=(40, 40)), warn=False)


def test_torchrl_checker_passes() -> None:
    from torchrl.envs import GymEnv
    from torchrl.envs.utils import check_env_specs

    check_env_specs(GymEnv("RoboTwin/stack_blocks_two-v0", **SMALL))


_EPISODES = """
import hashlib, sys
from envs.tabletop.env import TabletopEnv
for task in 2 * sys.argv[1:]:
    env = TabletopEnv(task, setting="randomized", head_size=(24, 32), wrist_size=(16, 16))
    digest, solved = hashlib.sha256(), False
    seen, _ = env.reset(seed=7)
    while not solved and env.steps < env.step_limit // 2:
        for key in sorted(seen):
            digest.update(seen[key].tobytes())
        for body in env.scene.bodies.values():
            digest.update(body.pose.p.tobytes() + body.pose.q.tobytes())
        solved = env.control(env.expert_action())
        seen = env.observe() if solved or env.steps % 50 == 0 else env.proprioception()
    print(task, digest.hexdigest(), env.instruction.replace(" ", "_"))
"""


def run_episodes(tasks: Sequence[str]) -> list[str]:
    """A process of its own runs one seed of each task with the expert, then all once more: a line per episode."""
    command = [sys.executable, "-c", _EPISODES, *tasks]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize(
    "tasks",
    [("stack_blocks_two", "dump_bin_bigbin", "open_laptop"), pytest.param(envs.task_names(), marks=pytest.mark.slow)],
    ids=["three", "all"],
)
def test_a_seed_fixes_the_episode_bit_for_bit_also_in_another_process(tasks: Sequence[str]) -> None:
    lines = [*run_episodes(tasks), *run_episodes(tasks[::-1])]  # whatever ran before in the process
    assert len(lines) == 4 * len(tasks) and len(set(lines)) == len(tasks)


def test_another_seed_shows_another_frame() -> None:
    env = make(setting="randomized")
    frames = {hashlib.sha256(env.reset(seed=seed)[0]["head_camera"].tobytes()).digest() for seed in range(4)}
    assert len(frames) == 4


@pytest.mark.parametrize("mode", ["joint", "ee", "delta_ee"])
def test_actions_of_wrong_shape_or_not_finite_are_refused(mode: str) -> None:
    env = make(action_mode=mode)
    env.restart(0)
    size = env.action_space.shape[0]  # type: ignore[index]
    with pytest.raises(ValueError, match="shape"):
        env.control(np.zeros(size - 1))
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN"):
            env.control(np.full(size, bad))


def test_settings_and_action_modes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="setting"):
        make(setting="hard")
    with pytest.raises(ValueError, match="action_mode"):
        make(action_mode="torque")


def test_forward_kinematics_agrees_with_sapien() -> None:
    env = make()
    env.restart(0)
    rng = np.random.default_rng(0)
    for name, arm in env.scene.arms.items():
        for _ in range(5):
            joints = rng.uniform([-0.5, 0.3, 0.3, -0.5, -0.5, -0.5], [0.5, 1.5, 1.5, 0.5, 0.5, 0.5])
            arm.articulation.set_qpos(np.append(joints, [0.0, 0.0]))
            arm.joints = joints
            position, rotation = kin.arm_endpose(name, torch.tensor(joints))
            for pose in (arm.endpose(), arm.commanded_endpose()):
                np.testing.assert_allclose(pose.p, position.numpy(), atol=1e-5)
                np.testing.assert_allclose(matrix_from_quat(pose.q), rotation.numpy(), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (96, 128), (48, 96)])
def test_delivered_camera_matrices_project_the_red_block_onto_red_pixels(height: int, width: int) -> None:
    env = make(head_size=(height, width))
    seen = 0
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        centre = np.append(env.scene.bodies["red_block"].position, 1.0)
        u, v, w = observation["head_camera_intrinsic"] @ observation["head_camera_extrinsic"] @ centre
        column, row = int(u / w), int(v / w)
        if 0 <= row < height and 0 <= column < width:
            red, green, blue = observation["head_camera"][row, column].astype(int)
            assert red > 120 and green < 60 and blue < 60
            seen += 1
    assert seen >= 3


def test_commanding_the_current_endpose_does_not_move_the_arm() -> None:
    env = make(action_mode="ee")
    env.restart(0)
    before = {name: arm.commanded_endpose() for name, arm in env.scene.arms.items()}
    action = np.concatenate([np.concatenate([pose.p, pose.q, [1.0]]) for pose in before.values()])
    for _ in range(10):
        env.control(action)
    for name, arm in env.scene.arms.items():
        np.testing.assert_allclose(arm.endpose().p, before[name].p, atol=1e-3)


def test_delta_ee_moves_the_endpose_by_the_commanded_shift() -> None:
    env = make(action_mode="delta_ee")
    env.restart(0)
    before = env.scene.arms["left"].commanded_endpose().p
    action = np.zeros(14)
    action[:3], action[[6, 13]] = [0.01, 0.01, -0.01], 1.0
    env.control(action)
    np.testing.assert_allclose(env.scene.arms["left"].commanded_endpose().p - before, action[:3], atol=1e-4)


def test_no_vulkan_device_is_one_sentence_that_names_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("failed to find a rendering device")

    monkeypatch.setattr(sapien, "Scene", broken)
    with pytest.raises(UserError, match=r"python -m aim_rl\.doctor"):
        make().restart(0)


FORKED = """
import os
from envs.errors import UserError
from envs.tabletop.env import TabletopEnv

env = TabletopEnv("click_bell", head_size=(8, 8), wrist_size=(8, 8))
env.restart(0)
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    TabletopEnv("click_bell").restart(0)
except UserError as error:
    os._exit(7 if "spawn" in str(error) else 1)
os._exit(1)
"""


def test_a_forked_process_says_spawn_instead_of_waiting_for_ever() -> None:
    """Gymnasium's AsyncVectorEnv forks by default on Linux; SAPIEN's renderer does not survive it."""
    assert subprocess.run([sys.executable, "-c", FORKED], timeout=300).returncode == 7


@pytest.mark.parametrize("setting", ["clean", "randomized"])
def test_pictures_for_people_change_nothing_that_a_policy_sees(setting: str) -> None:
    """Otherwise the video of an episode would show another one than was counted."""
    watched, alone = make(setting=setting), make(setting=setting)
    for env in (watched, alone):
        env.restart(3)
    for step in range(20):
        if step % 10 == 5:
            watched.view()
        action = alone.expert_action()
        np.testing.assert_array_equal(watched.expert_action(), action)
        assert watched.control(action) == alone.control(action)
        seen = watched.observe()
        for key, value in alone.observe().items():
            np.testing.assert_array_equal(seen[key], value, err_msg=key)


def test_the_picture_for_people_shows_the_same_scene_with_shadows() -> None:
    env = make()
    env.restart(3)
    for _ in range(20):
        env.control(env.expert_action())
    picture, intrinsic = env.view()
    assert picture.shape == (480, 640, 3) and np.array_equal(env.render(), picture)
    extrinsic = env.observe()["head_camera_extrinsic"]

    def at(point: np.ndarray) -> np.ndarray:
        pixel = intrinsic @ (extrinsic @ np.append(point, 1.0))
        u, v = (pixel[:2] / pixel[2]).astype(int)
        return picture[v, u].astype(int)

    (green,) = (body for name, body in env.scene.bodies.items() if "green" in name)
    red, green_, blue = at(green.position)
    assert green_ > red + 100 and green_ > blue + 100
    wrist, table = env.scene.arms["left"].wrist.entity.pose.p, env.scene.table_top
    shadow = wrist + (wrist[2] - table) * np.array([0.3, 0.35, -1.0])  # along the light
    assert at(shadow).sum() < 0.8 * at(np.array([0.0, -0.1, table])).sum()
    assert abs(np.median(env.observe()["head_camera"]) - 230) <= 2  # a policy sees RoboTwin's white table

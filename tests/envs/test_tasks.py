"""The tasks: their experts solve them, and nothing else counts as solved."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
import sapien

from envs.constants import QPOS_ARM, QPOS_GRIPPER, SETTINGS
from envs.tabletop.blocks import on_top
from envs.tabletop.env import TabletopEnv
from envs.tabletop.motion import next_joints
from envs.tabletop.rotations import DOWN
from envs.tabletop.scene import Body
from envs.tabletop.skills import UP, Command
from envs.tabletop.task import listed, task_class
from envs.tabletop.tasks import task_names
from envs.wrappers import ChunkEnv

SMALL = {"head_size": (24, 32), "wrist_size": (16, 16)}


def start(task: str, seed: int = 0, setting: str = "clean") -> TabletopEnv:
    env = TabletopEnv(task, setting=setting, head_size=(24, 32), wrist_size=(16, 16))
    env.restart(seed)
    return env


def put(env: TabletopEnv, name: str, position: np.ndarray) -> None:
    """Moves a body to a world position (m), upright and at rest."""
    entity = env.scene.bodies[name].entity
    entity.set_pose(sapien.Pose(position))
    dynamic = entity.find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
    dynamic.set_linear_velocity([0, 0, 0])
    dynamic.set_angular_velocity([0, 0, 0])


def idle(env: TabletopEnv) -> np.ndarray:
    """The action that keeps every joint where it is commanded."""
    return env.proprioception()["qpos"]


def drive(env: TabletopEnv, arm: str, position: np.ndarray, gripper: float, steps: int = 60) -> bool:
    """Takes a tool, pointing down, to a world position (m); whether the task succeeded on the way."""
    solved = False
    for _ in range(steps):
        action = idle(env).astype(np.float64)
        action[QPOS_ARM[arm]] = next_joints(env.scene.arms[arm], Command(position, DOWN, gripper))
        action[QPOS_GRIPPER[arm]] = gripper
        solved = env.control(action) or solved
    return solved


@pytest.mark.parametrize("task", task_names())
def test_a_task_file_says_what_is_asked_what_varies_what_is_done_and_its_source(task: str) -> None:
    text = inspect.getdoc(inspect.getmodule(task_class(task))) or ""
    for heading in ("Asked: ", "Varies: ", "Done: ", "Source: "):
        assert f"\n{heading}" in text
    assert re.findall(r"RoboTwin 2.0, envs/(\w+)\.py", text) in ([task], [])  # a task of one's own has another source
    assert task_class(task).name == task


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize(("setting", "seed"), [("clean", 0), ("randomized", 1), ("randomized", 2)])
def test_the_expert_solves_the_task(task: str, setting: str, seed: int) -> None:
    env = start(task, seed, setting)
    assert not env.task.check_success()
    while not env.control(env.expert_action()):
        assert env.steps < env.step_limit // 2


def blind_policy_succeeds(task: str, policy: str, seed: int, steps: int) -> bool:
    """Whether a task is solved at its reset or by doing nothing, or by random joint targets held for 16 steps each."""
    env = start(task, seed, SETTINGS[seed % 2])
    rng, solved = np.random.default_rng(seed), env.task.check_success()
    action = idle(env)
    for step in range(min(steps, env.step_limit)):
        if policy == "random" and step % 16 == 0:
            action = rng.uniform(env.action_space.low, env.action_space.high)
        solved = solved or env.control(action)
    return solved


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize("policy", ["nothing", "random"])
def test_neither_doing_nothing_nor_random_actions_succeed(task: str, policy: str) -> None:
    assert not blind_policy_succeeds(task, policy, seed=0, steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize(("policy", "steps"), [("random", 10_000), ("nothing", 200)])  # by then all has come to rest
def test_in_twenty_episodes_neither_succeeds_either(task: str, policy: str, steps: int) -> None:
    assert not [seed for seed in range(20) if blind_policy_succeeds(task, policy, seed, steps)]


@pytest.mark.parametrize("task", task_names())
def test_a_seed_picks_an_instruction_and_unseen_ones_are_kept_apart(task: str) -> None:
    drawn: dict[str, set[str]] = {}
    for split, least in (("seen", 10), ("unseen", 5)):
        env = TabletopEnv(task, instructions=split, **SMALL)
        drawn[split] = set()
        for seed in range(8):
            env.restart(seed)
            assert len(set(env.instructions_by_split[split])) >= least
            assert env.instruction in env.instructions_by_split[split] and "{" not in env.instruction
            drawn[split].add(env.instruction)
        assert len(drawn[split]) >= 2
    assert not drawn["seen"] & drawn["unseen"]


def test_colours_are_listed_as_one_says_them() -> None:
    assert listed(["red", "red"]) == "red" and listed(["red", "blue", "red"]) == "red and blue"
    assert listed(["red", "blue", "green"]) == "red, blue and green"


def test_the_expert_recovers_when_its_block_is_taken_away() -> None:
    env = start("stack_blocks_two", 3)
    for _ in range(30):
        env.control(env.expert_action())
    put(env, "green_block", np.array([0.2, 0.0, env.scene.table_top + 0.03]))
    while not env.control(env.expert_action()):
        assert env.steps < 300


def test_a_block_held_in_the_air_or_standing_beside_is_not_stacked() -> None:
    env = start("stack_blocks_two")
    red = env.scene.bodies["red_block"].position
    put(env, "green_block", red + 0.056 * UP)
    assert not env.task.check_success()  # inside RoboTwin's tolerance, but it rests on nothing
    put(env, "green_block", red + np.array([0.08, 0.0, 0.0]))
    assert not any(env.control(idle(env)) for _ in range(10))


def test_a_block_let_go_on_the_other_is_stacked() -> None:
    env = start("stack_blocks_two")
    put(env, "green_block", env.scene.bodies["red_block"].position + 0.051 * UP)
    assert any(env.control(idle(env)) for _ in range(10))


def test_a_block_that_is_still_held_is_not_stacked() -> None:
    env = start("stack_blocks_two")
    red, green = env.scene.bodies["red_block"], env.scene.bodies["green_block"]
    held_on_top = 0
    while not (solved := env.control(env.expert_action())):
        if on_top(green, red) and env.scene.fingers_on("green_block"):
            held_on_top += 1
            assert not env.task.check_success()
    assert solved and held_on_top > 0
    assert not env.scene.fingers_on("green_block")


def test_a_hover_or_an_open_gripper_is_not_a_click_but_a_press_is() -> None:
    hover, pressed = 0.05 * UP, 0.012 * UP
    for gripper, offset, expected in ((0.0, hover, False), (1.0, pressed, False), (0.0, pressed, True)):
        env = start("click_bell")
        top = env.scene.bodies["bell"].point("top")
        arm = "left" if top[0] < 0 else "right"
        solved = drive(env, arm, top + 0.1 * UP, gripper, steps=40)
        assert not solved
        assert drive(env, arm, top + offset, gripper, steps=15) is expected


def test_the_other_arm_does_not_ring_the_bell() -> None:
    env = start("click_bell")
    env.task.arm = "left" if env.task.arm == "right" else "right"  # type: ignore[attr-defined]
    top = env.scene.bodies["bell"].point("top")
    arm = "left" if top[0] < 0 else "right"
    assert not drive(env, arm, top + 0.1 * UP, 0.0, steps=40)
    assert not drive(env, arm, top + 0.012 * UP, 0.0, steps=15)


def test_a_hammer_above_the_block_has_not_beaten_it() -> None:
    env = start("beat_block_hammer")
    block = env.scene.bodies["block"].position
    put(env, "hammer", block + 0.06 * UP)
    assert not env.task.check_success()


@pytest.mark.parametrize("task", ["shake_bottle", "shake_bottle_horizontally"])
def test_a_bottle_is_shaken_by_three_swings_to_and_fro_in_the_air_only(task: str) -> None:
    def hold(direction: int, steps: int) -> bool:
        """Tilts to a side for some steps; whether the bottle counts as shaken on the way."""
        solved = False
        for _ in range(steps):
            action, command = idle(env).astype(np.float64), env.task.shake(direction)
            action[QPOS_ARM[arm]] = next_joints(env.scene.arms[arm], command)
            solved = env.control(action) or solved
        return solved

    env = start(task)
    arm = env.task.arm
    while not env.task.in_the_air():
        assert not env.control(env.expert_action())
    assert not hold(1, 60)  # lifted and tilted, but to one side only
    before = env.task.swings
    assert [hold(direction, 20) for direction in (-1, 1, -1)] == [False] * 3 and env.task.swings == before + 3
    put(env, env.task.bottle.name, np.array([0.0, -0.1, env.scene.table_top]))
    env.control(idle(env))
    assert env.task.swings == 0  # put down: it begins again


def test_a_cup_in_the_air_is_not_placed_and_one_on_the_coaster_is() -> None:
    env = start("place_empty_cup")
    top = env.scene.bodies["coaster"].point("top")
    put(env, "cup", top + 0.012 * UP)
    assert not env.task.check_success()  # inside RoboTwin's tolerance, but it rests on nothing
    put(env, "cup", top + 0.001 * UP)
    assert any(env.control(idle(env)) for _ in range(10))


def test_a_long_block_above_the_pad_is_not_placed_and_one_on_the_pad_is() -> None:
    env = start("handover_block")
    goal = env.task.goal  # type: ignore[attr-defined]
    put(env, "block", goal + 0.008 * UP)
    assert not env.task.check_success()
    put(env, "block", goal + 0.001 * UP)
    assert any(env.control(idle(env)) for _ in range(10))


def test_clutter_keeps_off_the_task() -> None:
    for seed in range(5):
        env = start("stack_blocks_two", seed, "randomized")
        bodies = env.scene.bodies
        clutter = [body for name, body in bodies.items() if name.startswith("clutter")]
        assert len(clutter) >= 5
        places = [bodies["red_block"].position, bodies["green_block"].position, np.array([0.0, -0.13, 0.0])]
        for body in clutter:
            assert all(np.abs(body.position - place)[:2].max() > 0.07 for place in places)


def test_no_clutter_could_belong_in_a_row_of_blocks() -> None:
    for seed in range(3):
        env = start("blocks_ranking_size", seed, "randomized")
        clutter = [body for name, body in env.scene.bodies.items() if name.startswith("clutter")]
        shapes = [shape for body in clutter for shape in looks(body)]
        assert shapes and all(isinstance(shape, sapien.render.RenderShapeCylinder) for shape in shapes)


# RoboTwin's one size of block is what the checkpoint of stack_blocks_two was trained on.
@pytest.mark.parametrize("task", [name for name in task_names() if name != "stack_blocks_two"])
def test_a_task_draws_several_instances_of_what_it_is_about(task: str) -> None:
    drawn = set()
    for seed in range(8):
        env = start(task, seed)
        bodies = [body for name, body in env.scene.bodies.items() if name not in ("table", "wall")]
        drawn.add(str([[(sizes(shape), shape.material.base_color) for shape in looks(body)] for body in bodies]))
    assert len(drawn) >= 2, "every seed looks alike: draw a size or a colour of an object"


def looks(body: Body) -> list[Any]:
    """What is seen of a body."""
    seen: Any = body.entity.find_component_by_type(sapien.render.RenderBodyComponent)
    return seen.render_shapes


def sizes(shape: Any) -> list[Any]:
    """The sizes (m) of a box, cylinder, capsule or sphere."""
    return [str(getattr(shape, name)) for name in ("half_size", "radius", "half_length") if hasattr(shape, name)]


@pytest.mark.parametrize("task", ["stack_blocks_two", "click_bell"])
def test_progress_rises_from_start_to_success(task: str) -> None:
    """The privileged reward is an upper bound only if solving the task is what raises it."""
    env = start(task)
    seen = [env.progress()]
    while not env.control(env.expert_action()):
        seen.append(env.progress())
    seen.append(env.progress())
    assert min(seen) >= 0 and max(seen) <= 1
    assert seen[-1] > 0.75 and seen[-1] - seen[0] > 0.4
    assert seen[-1] > max(seen) - 0.1  # nothing on the way pays more than the end


def test_a_chunk_tells_the_progress_after_each_of_its_control_steps() -> None:
    env, single = start("click_bell"), start("click_bell")
    chunked = ChunkEnv(env, execute=4, step_limit=6)
    first, _ = chunked.reset(seed=0)
    single.restart(0)
    assert (first["progress"] == np.float32(single.progress())).all()
    actions = []
    for _ in range(6):
        actions.append(single.expert_action())
        single.control(actions[-1])
    single.restart(0)
    expected = []
    for action in actions:
        single.control(action)
        expected.append(single.progress())
    told = [chunked.step(np.array(part, np.float32))[0] for part in (actions[:4], actions[4:] + actions[4:])]
    assert told[1]["executed"].tolist() == [True, True, False, False]
    np.testing.assert_allclose(told[0]["progress"], expected[:4], atol=1e-4)
    np.testing.assert_allclose(told[1]["progress"], [*expected[4:], expected[-1], expected[-1]], atol=1e-4)
    assert chunked.observation_space.contains(told[1])

"""Tasks with things of a desk: what counts as placed, and which events the experts leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sapien

from envs.constants import PICK, PLACE, PRESS
from envs.contacts import ContactRecorder
from envs.tabletop.env import TabletopEnv
from envs.tabletop.rotations import rotation_about
from envs.tabletop.scene import Body

Z = np.array([0.0, 0.0, 1.0])
PLACING = (  # tasks whose object is placed on a target and released
    "move_playingcard_away",
    "move_stapler_pad",
    "place_fan",
    "place_mouse_pad",
    "place_object_scale",
    "place_object_stand",
    "place_phone_stand",
    "rotate_qrcode",
    "stamp_seal",
)


def start(task: str, seed: int = 0) -> TabletopEnv:
    env = TabletopEnv(task, head_size=(24, 32), wrist_size=(16, 16))
    env.restart(seed)
    return env


def put(body: Body, position: np.ndarray, rotation: np.ndarray) -> None:
    """Moves a body to a world position (m) and rotation [3, 3], at rest."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    body.entity.set_pose(sapien.Pose(pose))
    dynamic: Any = body.entity.find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
    dynamic.set_linear_velocity([0, 0, 0])
    dynamic.set_angular_velocity([0, 0, 0])


def left_alone(env: TabletopEnv, steps: int = 15) -> bool:
    """Whether the task succeeds while the arms stay where they are."""
    action = env.proprioception()["qpos"]
    return any(env.control(action) for _ in range(steps))


@pytest.mark.parametrize("task", PLACING)
def test_a_held_object_is_not_placed_and_a_placed_one_leaves_a_pick_and_a_place(task: str) -> None:
    env = start(task, 101)
    thing, support = env.task.object.name, env.task.target.name  # type: ignore[attr-defined]
    recorder = ContactRecorder(env.scene)
    recorder.record()
    solved = False
    while not solved and env.steps < 200:
        solved = env.control(env.expert_action())
        recorder.record()
        assert not (solved and env.scene.fingers_on(thing))
    found = {(event.kind, event.body) for event in recorder.events()}
    assert solved and (PICK, thing) in found and (PLACE, support) in found


@pytest.mark.parametrize(
    ("task", "wrong"), [("place_fan", np.pi), ("place_mouse_pad", 0.0), ("move_stapler_pad", np.pi / 2)]
)
def test_a_thing_that_lies_the_wrong_way_on_its_pad_is_not_placed(task: str, wrong: float) -> None:
    for turn, expected in ((0.0, False), (np.pi / 2 if wrong != np.pi else np.pi, True)):
        env = start(task)
        thing, pad = env.task.object, env.task.target  # type: ignore[attr-defined]
        put(thing, pad.point("top") + 0.001 * Z, rotation_about(Z, wrong + turn))
        assert left_alone(env) is expected


def test_a_phone_that_lies_across_its_stand_is_not_placed_and_one_that_leans_in_it_is() -> None:
    for leans in (False, True):
        env = start("place_phone_stand")
        phone, stand = env.task.object, env.task.target  # type: ignore[attr-defined]
        rotation = env.task.leaning() if leans else rotation_about(Z, np.pi / 2)  # type: ignore[attr-defined]
        foot = stand.point("seat") + 0.003 * (rotation[:, 2] + Z)
        put(phone, foot - rotation @ phone.points["foot"], rotation)
        assert left_alone(env) is leans


def test_a_door_half_open_is_not_open_and_pulling_it_is_an_event() -> None:
    env = start("open_microwave", 101)
    oven = env.task.microwave  # type: ignore[attr-defined]
    recorder = ContactRecorder(env.scene)
    recorder.record()
    solved = False
    while not solved and env.steps < 200:
        assert oven.fraction < 0.6
        solved = env.control(env.expert_action())
        recorder.record()
    assert solved and {(event.kind, event.body) for event in recorder.events()} == {(PRESS, "microwave_door")}


@pytest.mark.parametrize(
    ("task", "name", "opened"), [("open_microwave", "microwave", 0.65), ("open_laptop", "laptop", 0.5)]
)
def test_a_part_that_was_flung_open_is_not_opened_before_a_hand_is_on_it(task: str, name: str, opened: float) -> None:
    env = start(task, 101)
    body = getattr(env.task, name)
    body.joint.child_link.articulation.set_qpos(np.array([opened * body.travel], dtype=np.float32))
    assert not left_alone(env) and body.fraction > opened - 0.01
    while not env.control(env.expert_action()):
        assert env.steps < 300
    assert env.scene.fingers_on(body.link.name)

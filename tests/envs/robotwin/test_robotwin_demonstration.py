"""Demonstrations of RoboTwin's expert: frames, contacts and the events read off them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from envs.constants import PICK, PLACE, PRESS
from envs.robotwin.env import RoboTwinEnv
from envs.robotwin.recording import watch

from .conftest import FakeCheckout

Make = Callable[..., RoboTwinEnv]


def test_a_frame_every_fifteen_physics_steps(make: Make, checkout: FakeCheckout) -> None:
    env = make()
    env.restart(0)
    checkout.events()
    recording = env.record_expert(0)
    assert recording.success
    events = checkout.events()
    assert len(recording.frames) == 1 + events.count("physics") // 15
    assert events.count("render head_camera 24x32") == len(recording.frames)
    assert [line for line in events if line.startswith("setup")] == ["setup 0 eval False"]
    assert set(env.observation_space) <= set(recording.frames[0])


def test_pick_and_place_are_read_off_the_simulators_contacts(make: Make) -> None:
    env = make()
    recording = env.record_expert(0)
    assert recording.bodies[:3] == ["table", "box", "box#2"]  # two bodies of one name are kept apart
    pick, place = watch(recording).events()
    assert (pick.kind, pick.body, pick.arm) == (PICK, "box", 0) and (place.kind, place.body) == (PLACE, "table")
    np.testing.assert_allclose(pick.points, [[0, 0, 0.02]] * 2, atol=1e-6)  # in the block's frame, none without impulse
    np.testing.assert_allclose(place.points, [[0.1, 0.1, 0.725]], atol=1e-3)
    assert pick.frame < place.frame < len(recording.frames)


@pytest.mark.parametrize("held", ["door", "handle"])
def test_moving_a_door_is_a_press_as_on_the_tabletop(make: Make, checkout: FakeCheckout, held: str) -> None:
    checkout.misbehave(held=held)
    recording = make().record_expert(0)
    assert recording.links == ["door", "handle"]
    (press,) = watch(recording).events()
    assert (press.kind, press.body, press.arm) == (PRESS, held, 0)


def test_end_effector_actions_reach_the_joints_through_inverse_kinematics(make: Make) -> None:
    env = make(servo=True, action_mode="ee")
    env.restart(0)
    action = np.array([0.2, 0, 0.8, 1, 0, 0, 0, 1.0, 0.1, 0, 0.8, 1, 0, 0, 0, 0.5])
    env.control(action)
    np.testing.assert_allclose(env.observe()["qpos"][[0, 6, 7, 13]], [0.2, 1.0, 0.1, 0.5], atol=1e-6)
    env = make(servo=True, action_mode="delta_ee")
    env.restart(0)
    for _ in range(2):
        env.control(np.array([0.1, 0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0, 0, 1.0]))
    np.testing.assert_allclose(env.observe()["qpos"][[0, 7]], [0.2, 0.0], atol=1e-6)  # from the commanded endpose


def test_a_demonstration_has_the_form_of_the_tabletops(make: Make, checkout: FakeCheckout) -> None:
    env = make()
    found, recording = env.demonstrate(0), env.record_expert(0)
    assert found is not None and len(found.action) == len(recording.frames) - 1
    assert {key: len(value) for key, value in found.observations.items()} == dict.fromkeys(
        env.spaces, len(found.action)
    )
    np.testing.assert_array_equal(found.action[:-1], found.observations["qpos"][1:])  # drive targets of a frame later
    assert [event.kind for event in found.events] == [PICK, PLACE] and not found.perturbed.any()
    checkout.misbehave(place="expert", how="raise", text="no plan")
    with pytest.warns(UserWarning, match="no plan"):
        assert env.demonstrate(0) is None

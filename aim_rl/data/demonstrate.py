"""Demonstrations of a simulator's expert as episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aim_rl.data.episode import Contacts, Episode
from envs.robotwin.client import TaskFailed
from envs.robotwin.contacts import watch
from envs.robotwin.env import RoboTwinEnv
from envs.tabletop.contacts import ContactRecorder, Event
from envs.tabletop.env import TabletopEnv
from envs.wrappers import finite

PERTURBATION_RATE = 0.02  # action perturbations per control step
PERTURBATION_STEPS = 2  # control steps that one lasts
PERTURBATION_SIZE = 0.06  # rad per joint and step, standard deviation: 3 to 4 cm at the gripper
RELEASE_SHARE = 0.15  # of the perturbations open a gripper instead
EXPERT_LIMIT = 400  # control steps, or half the task's limit; a perturbed expert that needs longer is dropped


def demonstrate(env: TabletopEnv | RoboTwinEnv, seed: int, setting: str) -> Episode | None:
    """One episode of the expert, or None if it did not succeed. FloatingPointError if it observes NaN."""
    if isinstance(env, TabletopEnv):
        return demonstrate_tabletop(env, seed)
    return demonstrate_robotwin(env, seed, setting)


def demonstrate_tabletop(env: TabletopEnv, seed: int) -> Episode | None:
    """As `demonstrate`, with action perturbations, so that the data shows recoveries."""
    rng = np.random.default_rng([seed, 1])
    env.restart(seed)
    recorder = ContactRecorder(env.scene)
    frames: list[dict[str, NDArray[np.generic]]] = []
    perturbation, remaining, solved = np.zeros(14), 0, False
    limit = max(EXPERT_LIMIT, env.step_limit // 2)
    while not solved and env.steps < limit:
        recorder.record()
        action = env.expert_action()
        if remaining == 0 and rng.random() < PERTURBATION_RATE:
            perturbation, remaining = _action_perturbation(rng), PERTURBATION_STEPS
        if remaining:
            action = action + perturbation
            remaining -= 1
        action[[6, 13]] = action[[6, 13]].clip(0.0, 1.0)
        command = {"action": action.astype(np.float32), "perturbed": np.bool_(perturbation.any())}
        frames.append(finite(env.observe()) | command)
        solved = env.control(action)
        if not remaining:
            perturbation = np.zeros(14)
    recorder.record()
    if not solved:
        return None
    stacked: dict[str, Any] = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}
    return Episode(
        **stacked,
        instructions=env.wordings[env.wording],
        contacts=gather_contacts(recorder.events(), recorder, len(frames)),
        task=env.task_class.name,
        setting=env.setting,
        seed=seed,
    )


def demonstrate_robotwin(env: RoboTwinEnv, seed: int, setting: str) -> Episode | None:
    """As `demonstrate`: a frame every 15 physics steps, unperturbed, since this expert plans whole motions."""
    try:
        demonstration = env.demonstrate(seed)
    except TaskFailed:
        return None
    if not demonstration.success:
        return None
    recorder, frames = watch(demonstration), demonstration.frames
    stacked: dict[str, Any] = finite({key: np.stack([each[key] for each in frames[:-1]]) for key in env.spaces})
    action = np.stack([each["qpos"] for each in frames[1:]])  # drive targets that the expert had set a frame later
    return Episode(
        **stacked,
        action=action,
        perturbed=np.zeros(len(action), bool),
        instructions=env.wordings[env.wording],
        contacts=gather_contacts(recorder.events(), recorder, len(action)),
        task=env.task_name,
        setting=setting,
        seed=seed,
    )


def _action_perturbation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Added to the joint targets [14] of one arm for a few control steps."""
    perturbation = np.zeros(14)
    arm = slice(0, 7) if rng.random() < 0.5 else slice(7, 14)
    if rng.random() < RELEASE_SHARE:
        perturbation[arm] = [0.0] * 6 + [1.0]
    else:
        perturbation[arm] = [*rng.normal(0.0, PERTURBATION_SIZE, 6), 0.0]
    return perturbation


def gather_contacts(events: list[Event], recorder: ContactRecorder, frames: int) -> Contacts:
    """Events as the arrays of an episode with `frames` frames (an event after the last frame counts for the last)."""
    if not events:
        return Contacts.empty(frames)
    bodies = sorted({event.body for event in events})
    counts = [len(event.points) for event in events]

    def spread(values: list[int], dtype: type) -> NDArray[np.generic]:
        return np.repeat(np.array(values, dtype), counts)

    return Contacts(
        point=np.concatenate([event.points for event in events]).astype(np.float32),
        time=spread([min(event.frame, frames - 1) for event in events], np.int32),
        kind=spread([event.kind for event in events], np.uint8),
        arm=spread([event.arm for event in events], np.uint8),
        event=spread(list(range(len(events))), np.int32),
        body=spread([bodies.index(event.body) for event in events], np.int32),
        body_poses=np.array([recorder.poses[body][:frames] for body in bodies], np.float32),
    )

"""A small synthetic episode: plausible cameras and joints, no simulator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aim_rl.data.episode import LEFT, RIGHT, Contacts, Episode
from envs.constants import CAMERAS, PICK, PLACE


def look_at(eye: np.ndarray, forward: np.ndarray, left: np.ndarray) -> np.ndarray:
    """World to camera [3, 4] in OpenCV axes (x right, y down, z forward)."""
    forward = forward / np.linalg.norm(forward)
    right = -left / np.linalg.norm(left)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.concatenate([rotation, -rotation @ eye[:, None]], axis=1).astype(np.float32)


def intrinsic(height: int, width: int) -> np.ndarray:
    focal = height / 2 / np.tan(np.deg2rad(37.0) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)


HEAD = look_at(np.array([-0.032, -0.45, 1.35]), np.array([0, 0.6, -0.8]), np.array([-1.0, 0, 0]))


def contacts_of(frames: int) -> Contacts:
    """Left picks body 0 at frame 8, places it at 14; right picks body 1 at 20. Body 0 drifts along x."""
    poses = np.zeros((3, frames, 7), np.float32)
    poses[:, :, 3] = 1.0
    poses[0, :, :3] = [-0.15, 0.0, 0.76]
    poses[0, :, 0] += 0.002 * np.arange(frames)
    poses[1, :, :3] = [0.2, 0.05, 0.76]
    poses[1, :, 3:] = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]  # a quarter turn about z
    poses[2, :, :3] = [0.0, 0.0, 0.74]
    return Contacts(
        point=np.array([[0, 0, 0.02], [0, 0.1, 0], [0.02, 0, 0]], np.float32),
        time=np.array([8, 14, 20], np.int32),
        kind=np.array([PICK, PLACE, PICK], np.uint8),
        arm=np.array([LEFT, LEFT, RIGHT], np.uint8),
        event=np.array([0, 1, 2], np.int32),
        body=np.array([0, 2, 1], np.int32),
        body_poses=poses,
    )


@pytest.fixture
def make_contacts() -> Callable[[int], Contacts]:
    return contacts_of


def episode_of(
    frames: int = 24, head: tuple[int, int] = (96, 128), wrist: tuple[int, int] = (64, 64), seed: int = 0
) -> Episode:
    """Flat images of the given sizes and random joint paths."""
    rng = np.random.default_rng(seed)
    fields = {}
    for camera, size in zip(CAMERAS, (head, wrist, wrist), strict=True):
        colours = rng.integers(0, 256, (frames, 1, 1, 3), dtype=np.uint8)
        fields[camera] = np.broadcast_to(colours, (frames, *size, 3)).copy()
        fields[f"{camera}_intrinsic"] = np.repeat(intrinsic(*size)[None], frames, 0)
        fields[f"{camera}_extrinsic"] = np.repeat(HEAD[None], frames, 0)
    steps = rng.normal(0, 0.01, (frames + 1, 14)).astype(np.float32)
    path = np.cumsum(steps, 0)
    path[:, [6, 13]] = rng.uniform(0, 1, (frames + 1, 2))
    pose = np.tile(np.array([0, 0, 1, 1, 0, 0, 0], np.float32), (frames, 1))
    offset = np.array([0.1, 0.1, 0.1, 0, 0, 0, 0], np.float32)
    return Episode(
        **fields,
        qpos=path[:-1],
        qpos_measured=path[:-1] + 0.004,
        left_endpose=pose - offset,
        right_endpose=pose + offset,
        action=path[1:],
        perturbed=np.zeros(frames, bool),
        instructions=[f"stack the blocks {seed}"],
        contacts=contacts_of(frames),
        task="stack_blocks_two",
        setting="clean",
        seed=seed,
    )


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    return episode_of

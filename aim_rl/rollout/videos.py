"""Pictures and videos of a policy, with the value map and the commanded TCP positions drawn in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import imageio
import numpy as np
import torch
from torch import Tensor

from aim_rl.rollout.playing import actions_of
from aim_rl.rollout.policy import Policy
from aim_rl.runs.folder import one_thread
from aim_rl.runs.pictures import Image, mark, overlay, to_image
from envs.base import TaskEnv, View
from envs.constants import CONTROL_STEP
from envs.files import atomic_file
from envs.pictures import ARM_COLOURS, DOTS, FRAME, GLOW, draw_dots, draw_glow, legend
from rewards import project

HEIGHT = 480  # px, of a picture for people, at least
EVERY = 2  # control steps per frame of a video
FPS = round(1 / (CONTROL_STEP * EVERY))


def draw_decision(rgb: Tensor, value_map: Tensor, commanded_tcp: Tensor, intrinsic: Tensor, extrinsic: Tensor) -> Image:
    """The head camera's frame with the predicted map and the projected commanded TCP positions.

    Args:
        rgb: u8 [H, W, 3].
        value_map: [3, h, w] in [0, 1], the map of the frame that is being executed.
        commanded_tcp: [n, 2, 3], tool centres (m, world).
        intrinsic: [3, 3], px of `rgb`. extrinsic: [3, 4], world to camera.

    Returns:
        u8 [2H, 2W, 3].
    """
    height, width, _ = rgb.shape
    scaled = torch.nn.functional.interpolate(value_map[None], (height, width), mode="bilinear")[0]
    image = to_image(overlay(rgb.permute(2, 0, 1) / 255, scaled), 2)
    for arm, colour in enumerate(ARM_COLOURS):
        pixels, _, visible = project(commanded_tcp[:, arm], intrinsic, extrinsic, (height, width))
        image = mark(image, 2 * pixels[visible].numpy(), colour)
    return image


def draw_view(view: View, decision: Mapping[str, Tensor], execute: int) -> Image:
    """A picture for people with the map of a decision, the commanded TCP positions and what the model sees framed.

    Args:
        view: of the environment.
        decision: what a policy observed and answered (`Policy`).
        execute: how many commanded TCP positions are executed.

    Returns:
        u8 [H, W, 3], H at least 480.
    """
    scale = max(1.0, HEIGHT / len(view.picture))
    picture: Any = cv2.resize(view.picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    intrinsic = np.diag([scale, scale, 1.0]) @ view.intrinsic
    height, width, _ = picture.shape
    maps = decision["value_map"][0, :2].numpy()
    seen, (rows, columns) = decision["head_camera"], maps.shape[1:]
    to_seen = np.diag([seen.shape[1] / columns, seen.shape[0] / rows, 1.0])
    to_view = intrinsic @ np.linalg.inv(decision["head_camera_intrinsic"].numpy()) @ to_seen
    centres = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts from the first pixel's centre
    warp = (np.linalg.inv(centres) @ to_view @ centres)[:2]
    picture = draw_glow(picture, np.array([cv2.warpAffine(each, warp, (width, height)) for each in maps], np.float32))
    corners = to_view[:2] @ np.array([[0, 0, 1.0], [columns, rows, 1]]).T  # [2, 2]: x, y of two corners
    (left, right), (top, bottom) = np.round(corners).astype(int).tolist()
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), (255, 255, 255), 1)
    for arm, colour in enumerate(ARM_COLOURS):
        camera = torch.from_numpy(intrinsic).float(), decision["head_camera_extrinsic"]
        pixels, _, visible = project(decision["commanded_tcp"][:execute, arm], *camera, (height, width))
        picture = draw_dots(picture, pixels[visible].numpy(), colour)
    return picture


@one_thread()  # as in evaluation, so that what is shown is the episode that was counted
@torch.no_grad()
def draw_episode(policy: Policy, env: TaskEnv, seed: int, show: Callable[[Image], None], every: int = EVERY) -> bool:
    """Rolls out one seed; returns success.

    Args:
        policy, env: as in `actions_of`.
        seed: of the scene.
        show: gets pictures u8 [H, W, 3] (`draw_view`): the first one, one per `every` control steps, and the last one.
        every: see there.
    """
    env.restart(seed)
    execute, solved = policy.model.preset.execute, False
    for decision, action in actions_of(policy, env):
        if env.steps % every == 0:
            show(draw_view(env.view(), decision, execute))
        solved = env.control(action)
        if solved or env.steps >= env.step_limit:
            show(draw_view(env.view(), decision, execute))
            break
    return solved


def record_episode(policy: Policy, env: TaskEnv, seed: int, path: Path) -> bool:
    """Writes a video of one seed at the simulation's pace, with a legend; returns success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as aside, imageio.get_writer(aside, fps=FPS) as made:
        writer: Any = made  # imageio's stubs know no writers

        def show(picture: Image) -> None:
            writer.append_data(np.concatenate([picture, legend(picture.shape[1], (GLOW, DOTS, FRAME))]))

        return draw_episode(policy, env, seed, show)

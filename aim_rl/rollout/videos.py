"""Videos of a policy, with the value map and the commanded TCP positions drawn in."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from aim_rl.rollout.environments import InstructionTokens
from aim_rl.rollout.policy import Policy
from aim_rl.runs.folder import one_thread
from aim_rl.runs.pictures import Image, mark, overlay, to_image
from envs.backend import TABLETOP, Backend
from envs.constants import CONTROL_STEP
from envs.wrappers import ChunkEnv, SeedSchedule
from rewards import project

TCP_COLOURS = ((255, 120, 0), (0, 140, 255))  # left, right


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
    for arm, colour in enumerate(TCP_COLOURS):
        pixels, _, visible = project(commanded_tcp[:, arm], intrinsic, extrinsic, (height, width))
        image = mark(image, 2 * pixels[visible].numpy(), colour)
    return image


@one_thread()  # as in evaluation, so that the video shows the episode that was counted
@torch.no_grad()
def draw_episode(
    policy: Policy, *, task: str, setting: str, seed: int, simulator: Backend = TABLETOP, instructions: str = "seen"
) -> tuple[list[Image], bool]:
    """Rolls out one seed: a picture u8 [2H, 2W, 3] per decision, and success."""
    preset = policy.model.preset
    env = simulator.make(
        task,
        setting,
        preset.head_size,
        preset.wrist_size,
        action_mode="ee",
        evaluation=True,
        instructions=instructions,
    )
    chunked = SeedSchedule(ChunkEnv(env, preset.execute), iter(()))
    env = InstructionTokens(chunked, preset, policy.model.text.tokenize)
    observation, _ = env.reset(seed=seed)
    pictures: list[Image] = []
    done = solved = False
    while not done:
        observed = {key: torch.from_numpy(value) for key, value in observation.items()}
        decision = policy(TensorDict(observed, []).unsqueeze(0))[0]
        pictures.append(
            draw_decision(
                observed["head_camera"],
                decision["value_map"][0],
                decision["commanded_tcp"][: preset.execute],
                observed["head_camera_intrinsic"],
                observed["head_camera_extrinsic"],
            )
        )
        observation, _, solved, truncated, _ = env.step(decision["action"].numpy())
        done = solved or truncated
    env.close()
    return pictures, solved


def record_episode(
    policy: Policy,
    path: Path,
    *,
    task: str,
    setting: str,
    seed: int,
    simulator: Backend = TABLETOP,
    instructions: str = "seen",
) -> bool:
    """Writes a video of one seed, a frame per decision at the simulation's pace; returns success."""
    pictures, solved = draw_episode(
        policy, task=task, setting=setting, seed=seed, simulator=simulator, instructions=instructions
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, np.stack(pictures), fps=max(1, round(1 / (CONTROL_STEP * policy.model.preset.execute))))
    return solved

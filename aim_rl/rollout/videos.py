"""Videos of a policy at work, with the value map and the commanded TCP positions drawn in."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from aim_rl.model import AIM
from aim_rl.rl.policy import OBSERVATION, AimPolicy
from aim_rl.rollout.environments import InstructionTokens
from aim_rl.runs.folder import one_thread
from aim_rl.runs.pictures import Image, mark, overlay, to_image
from envs.backend import TABLETOP, Backend
from envs.tabletop.scene import CONTROL_STEP
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


@one_thread()  # as evaluation, so that the pictures show the episode that was counted
@torch.no_grad()
def draw_episode(
    model: AIM, task: str, setting: str, seed: int, simulator: Backend = TABLETOP, instructions: str = "seen"
) -> tuple[list[Image], bool]:
    """Rolls out one seed deterministically: a picture u8 [2H, 2W, 3] per decision, and success."""
    preset = model.preset
    scene = simulator.make(task, setting, preset.head_size, preset.wrist_size, "ee", True, instructions)
    env = InstructionTokens(SeedSchedule(ChunkEnv(scene, preset.execute), iter(())), preset, model.text.tokenize)
    policy = AimPolicy(model, preset.execute)
    observation, _ = env.reset(seed=seed)
    pictures: list[Image] = []
    done = solved = False
    while not done:
        keys = (*OBSERVATION, "text", "seed", "decision")
        tensordict = TensorDict({key: torch.from_numpy(observation[key])[None] for key in keys}, [1])
        tensordict = policy(tensordict)
        camera = [torch.from_numpy(observation[f"head_camera_{name}"]) for name in ("intrinsic", "extrinsic")]
        rgb, commanded_tcp = (
            torch.from_numpy(observation["head_camera"]),
            tensordict["commanded_tcp"][0, : preset.execute],
        )
        pictures.append(draw_decision(rgb, tensordict["value_map"][0, 0], commanded_tcp, *camera))
        observation, _, solved, truncated, _ = env.step(tensordict["action"][0].numpy())
        done = solved or truncated
    env.close()
    return pictures, solved


def record_episode(
    model: AIM,
    task: str,
    setting: str,
    seed: int,
    path: Path,
    simulator: Backend = TABLETOP,
    instructions: str = "seen",
) -> bool:
    """Writes a video of one seed, a frame per decision at the pace of the simulation; returns success."""
    pictures, solved = draw_episode(model, task, setting, seed, simulator, instructions)
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, np.stack(pictures), fps=max(1, round(1 / (CONTROL_STEP * model.preset.execute))))
    return solved

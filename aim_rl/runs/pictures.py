"""Images for TensorBoard: value maps over frames, predictions beside the truth, commanded TCP positions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aim_rl.model import AIM, pack
from envs.constants import CAMERAS
from envs.pictures import ARM_COLOURS, Image


def overlay(rgb: Tensor, maps: Tensor) -> Tensor:
    """Blends value maps over images.

    Args:
        rgb: [..., 3, H, W] in [0, 1].
        maps: [..., 3, H, W] in [0, 1]; channel 0 is drawn in the left arm's colour, channel 1 in the right's.

    Returns:
        [..., 3, H, W] in [0, 1].
    """
    grey = 0.35 + 0.5 * rgb.mean(-3, keepdim=True)
    picture = rgb * 0.5 + grey * 0.5
    for arm, colour in enumerate(rgb.new_tensor(ARM_COLOURS) / 255):
        alpha = 0.85 * maps[..., arm, None, :, :].clamp(0, 1)
        picture = picture * (1 - alpha) + alpha * colour[:, None, None]
    return picture


def to_image(picture: Tensor, zoom: int = 1) -> Image:
    """[3, H, W] in [0, 1] as u8 [zoom H, zoom W, 3]."""
    image = (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
    return image.repeat(zoom, 0).repeat(zoom, 1)


@torch.no_grad()
def stage1_picture(model: AIM, batch: Mapping[str, Tensor]) -> Image:
    """One row per sample: now, true future, predicted future, true map, predicted map (canvas, twice its size)."""
    history = model.history_of(batch)
    x, m, _ = model.imagine(batch, batch["text"], torch.Generator(batch["text"].device).manual_seed(0), history)
    rgb, maps = model.decode_rgb(x, batch), model.decode_maps(m)
    head, left, right = (batch[camera][:, None] for camera in CAMERAS)
    now = pack(head, left, right, model.preset)
    true = batch["future_rgb"]
    columns = (
        now[:, -1],
        true[:, -1],
        rgb[:, -1],
        overlay(true[:, 0], batch["future_maps"][:, 0]),
        overlay(true[:, 0], maps[:, 0]),
    )
    rows = [torch.cat([column[i] for column in columns], -1) for i in range(len(true))]
    return to_image(torch.cat(rows, -2), 2)


def mark(image: Image, points: NDArray[np.floating], colour: tuple[int, int, int], size: int = 1) -> Image:
    """A copy of u8 [H, W, 3] with squares at pixel positions [n, 2] (u right, v down)."""
    marked = image.copy()
    for u, v in points.astype(int):
        marked[max(0, v - size) : max(0, v + size + 1), max(0, u - size) : max(0, u + size + 1)] = colour
    return marked

"""The T-pose canvas, its latents and its patches.

Canvas of one frame, height x width (the small preset in brackets):

    +---------------------+
    |        head         |   head tile  [48 x 64]
    +----------+----------+
    |   left   |  right   |   wrist tiles [32 x 32]
    +----------+----------+

A tokenizer turns canvases into latent cells and back: `PixelTokenizer` uses the pixels themselves, `wan.WanTokenizer`
Wan2.2's VAE. A token is a patch of latent cells. RGB and value maps share the tokenizer and the patches, so their token
grids coincide. No cell or patch crosses a seam, so no camera leaks into another camera's tokens.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from aim_rl.model.presets import Preset


def paste(head: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Tiles [..., 3, h, w] at canvas resolution -> canvas [..., 3, H, W]."""
    return torch.cat([head, torch.cat([left, right], -1)], -2)


def cut(canvas: Tensor, preset: Preset, cell: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse of `paste`: canvas [..., H, W] -> head, left and right tile [..., h, w].

    cell: canvas pixels per side of a cell of the last two axes, `spatial_stride` for latents.
    """
    rows, cols = preset.head_tile[0] // cell, preset.wrist_tile[1] // cell
    return canvas[..., :rows, :], canvas[..., rows:, :cols], canvas[..., rows:, cols:]


def pack(head: Tensor, left: Tensor, right: Tensor, preset: Preset) -> Tensor:
    """Camera images u8 [..., h, w, 3] -> canvas f32 [..., 3, H, W] in [0, 1], shrunk by area averaging."""

    def tile(image: Tensor) -> Tensor:
        flat = image.flatten(0, -4).movedim(-1, -3).float() / 255
        return F.avg_pool2d(flat, preset.shrink).unflatten(0, image.shape[:-3])

    return paste(tile(head), tile(left), tile(right))


def patchify(latents: Tensor, preset: Preset) -> Tensor:
    """Latent canvases [B, F, C, H, W] -> tokens [B, N, token_dim], time major, then rows, then columns."""
    b, f, c, h, w = latents.shape
    s, p = preset.temporal_patch, preset.patch
    blocks = latents.reshape(b, f // s, s, c, h // p, p, w // p, p)
    return blocks.permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(b, -1, s * c * p * p)


def unpatchify(tokens: Tensor, preset: Preset) -> Tensor:
    """Inverse of `patchify`: tokens [B, N, token_dim] -> latent canvases [B, F, C, H, W]."""
    b = tokens.shape[0]
    s, p, c, (rows, cols) = preset.temporal_patch, preset.patch, preset.latent_channels, preset.grid
    blocks = tokens.reshape(b, -1, rows, cols, s, c, p, p)
    return blocks.permute(0, 1, 4, 5, 2, 6, 3, 7).reshape(b, -1, c, rows * p, cols * p)


def canvas_now(cameras: Sequence[Tensor], preset: Preset) -> Tensor:
    """Current images, head, left and right, u8 [B, h, w, 3] -> one canvas f32 [B, 1, 3, H, W] in [-1, 1]."""
    head, left, right = (camera[:, None] for camera in cameras)
    return to_signed(pack(head, left, right, preset))


class PixelTokenizer:
    """Latents are the canvas's pixels. Interface of `wan.WanTokenizer`; `before` is not used."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset

    def encode_now(self, cameras: Sequence[Tensor]) -> Tensor:
        return canvas_now(cameras, self.preset)

    def encode(self, video: Tensor, before: Sequence[Tensor] | None) -> Tensor:
        return video

    def decode(self, latents: Tensor, before: Sequence[Tensor] | None) -> Tensor:
        return latents

    def heights(self, maps: Tensor) -> Tensor:
        return (maps + 1) / 2


def to_signed(image: Tensor) -> Tensor:
    """u8 in [0, 255] or float in [0, 1] -> float in [-1, 1], the range the model denoises in."""
    return image.float().div_(127.5).sub_(1) if image.dtype == torch.uint8 else image * 2 - 1


def to_unit(image: Tensor) -> Tensor:
    """Float in [-1, 1] -> [0, 1], clipped."""
    return (image * 0.5).add_(0.5).clamp_(0, 1)


def map_peak_error(predicted: Tensor, true: Tensor, preset: Preset) -> Tensor:
    """Mean distance (canvas px) between the peaks of predicted and true maps, per camera [3]: head, left, right.

    Maps are [B, F, 3, H, W] in [0, 1]. Only the two arm channels count, and only tiles whose true peak is above 0.5; a
    camera without any is NaN.
    """

    def peaks(tile: Tensor) -> tuple[Tensor, Tensor]:
        value, index = tile[:, :, :2].flatten(-2).max(-1)
        width = tile.shape[-1]
        return value, torch.stack([index // width, index % width], -1).float()

    errors = []
    for tile, truth in zip(cut(predicted, preset), cut(true, preset), strict=True):
        (_, guess), (value, place) = peaks(tile), peaks(truth)
        errors.append((guess - place).norm(dim=-1)[value > 0.5].mean())
    return torch.stack(errors)

"""The T-pose canvas and its patches.

Canvas of one frame, height x width (the small preset in brackets):

    +---------------------+
    |        head         |   head tile  [48 x 64]
    +----------+----------+
    |   left   |  right   |   wrist tiles [32 x 32]
    +----------+----------+

RGB and value maps go through the same patches, so their token grids coincide. Patches never
straddle a seam (checked by the preset), so no camera leaks into another one's tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from aim_rl.model.presets import Preset

CAMERAS = ("head_camera", "left_camera", "right_camera")


def paste(head: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Tiles [..., 3, h, w] at canvas resolution -> canvas [..., 3, H, W]."""
    return torch.cat([head, torch.cat([left, right], -1)], -2)


def cut(canvas: Tensor, preset: Preset) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse of `paste`: canvas [..., H, W] -> head, left and right tile [..., h, w]."""
    rows, cols = preset.head_tile[0], preset.wrist_tile[1]
    return canvas[..., :rows, :], canvas[..., rows:, :cols], canvas[..., rows:, cols:]


def pack(head: Tensor, left: Tensor, right: Tensor, preset: Preset) -> Tensor:
    """Camera images u8 [..., h, w, 3] -> canvas f32 [..., 3, H, W] in [0, 1], shrunk by area averaging."""

    def tile(image: Tensor) -> Tensor:
        flat = image.flatten(0, -4).movedim(-1, -3).float() / 255
        return F.avg_pool2d(flat, preset.shrink).unflatten(0, image.shape[:-3])

    return paste(tile(head), tile(left), tile(right))


def patchify(video: Tensor, preset: Preset) -> Tensor:
    """Canvases [B, F, 3, H, W] -> tokens [B, N, token_dim], time major, then rows, then columns."""
    b, f, c, h, w = video.shape
    s, p = preset.temporal_patch, preset.patch
    blocks = video.reshape(b, f // s, s, c, h // p, p, w // p, p)
    return blocks.permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(b, -1, s * c * p * p)


def unpatchify(tokens: Tensor, preset: Preset) -> Tensor:
    """Inverse of `patchify`: tokens [B, N, token_dim] -> canvases [B, F, 3, H, W]."""
    b = tokens.shape[0]
    s, p, (rows, cols) = preset.temporal_patch, preset.patch, preset.grid
    blocks = tokens.reshape(b, preset.frames // s, rows, cols, s, 3, p, p)
    return blocks.permute(0, 1, 4, 5, 2, 6, 3, 7).reshape(b, preset.frames, 3, rows * p, cols * p)


def to_signed(image: Tensor) -> Tensor:
    """u8 in [0, 255] or float in [0, 1] -> float in [-1, 1], the range the model denoises in."""
    return image.float().div_(127.5).sub_(1) if image.dtype == torch.uint8 else image * 2 - 1


def to_unit(image: Tensor) -> Tensor:
    """Float in [-1, 1] -> [0, 1], clipped."""
    return (image * 0.5).add_(0.5).clamp_(0, 1)


def map_peak_error(predicted: Tensor, true: Tensor, preset: Preset) -> Tensor:
    """Mean distance in canvas px between predicted and true blob, per camera [3]: head, left, right.

    Maps [B, F, 3, H, W] in [0, 1]. Only the two arm channels count, and only where the true tile
    holds a blob (peak above 0.5); NaN for a camera that sees none.
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

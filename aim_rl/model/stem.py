"""Observation stem: three camera images -> tokens on the canvas grid, and sub-pixel keypoints."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aim_rl.model.presets import STEM_CELL, Preset

SHARPNESS = 10.0
"""Factor of the initial keypoint logits. With torch's usual weights the softmax starts nearly uniform, every keypoint
sits in the middle of the image, and objects that matter late in an episode are found late.
Ten times sharper, keypoints sit on coloured objects from the start (docs/results.md, "What the keypoints know")."""


def fold(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Space to depth: u8 [B, h, w, 3] -> [B, 48, h/4, w/4] in [-0.5, 0.5], channels last in memory."""
    b, h, w, c = images.shape
    s = STEM_CELL
    cells = images.reshape(b, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5)
    scaled = cells.reshape(b, h // s, w // s, s * s * c).to(dtype).div_(255).sub_(0.5)
    return scaled.permute(0, 3, 1, 2)


class SpatialSoftmax(nn.Module):
    """Features [B, C, h, w] -> keypoints [B, K, 3]: x, y in [-1, 1] over the image, presence in [0, 1]."""

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.logits = nn.Conv2d(channels, keypoints, 1)
        with torch.no_grad():
            self.logits.weight.mul_(SHARPNESS)

    def forward(self, features: Tensor) -> Tensor:
        h, w = features.shape[-2:]
        logits = self.logits(features).flatten(2)
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, h, dtype=logits.dtype, device=logits.device),
            torch.linspace(-1, 1, w, dtype=logits.dtype, device=logits.device),
            indexing="ij",
        )
        weights = logits.softmax(-1)
        place = weights @ torch.stack([x.flatten(), y.flatten()], -1)
        presence = torch.sigmoid((weights * logits).sum(-1, keepdim=True))
        return torch.cat([place, presence], -1)


class CameraStem(nn.Module):
    """One camera: images u8 [B, h, w, 3] -> patch tokens [B, rows, cols, width] and keypoints [B, K, 3]."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        c = preset.stem_channels
        self.fold = nn.Conv2d(3 * STEM_CELL**2, c, 3, padding=1)
        self.mix = nn.Conv2d(c, c, 3, padding=1)
        self.keypoints = SpatialSoftmax(c, preset.keypoints)
        self.down = nn.Conv2d(c, c, 3, stride=2, padding=1)
        self.features = preset.shrink * preset.token_side // (2 * STEM_CELL)  # stem features per token side
        self.token = nn.Linear(self.features**2 * c, preset.width_x)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.fold(fold(images, self.token.weight.dtype)))
        h = h + F.relu(self.mix(h))
        keypoints = self.keypoints(h)
        h = F.relu(self.down(h)).permute(0, 2, 3, 1)
        n = self.features
        patches = h.unflatten(2, (-1, n)).unflatten(1, (-1, n)).transpose(2, 3).flatten(3)
        return self.token(patches), keypoints


class ObservationStem(nn.Module):
    """Current observation -> tokens [B, n_obs, width_x] and keypoints [B, 9K].

    Token order: the canvas grid row by row, then one keypoint token per camera. The wrist cameras share weights; a
    learned embedding per camera distinguishes them.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.head = CameraStem(preset)
        self.wrist = CameraStem(preset)
        self.camera = nn.Parameter(0.02 * torch.randn(3, preset.width_x))
        self.keypoint_token = nn.Linear(3 * preset.keypoints, preset.width_x)

    def forward(self, head: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Images u8 [B, h, w, 3]."""
        head_tokens, head_points = self.head(head)
        wrist_tokens, wrist_points = self.wrist(torch.cat([left, right]))
        left_tokens, right_tokens = wrist_tokens.chunk(2)
        wrists = torch.cat([left_tokens + self.camera[1], right_tokens + self.camera[2]], 2)
        grid = torch.cat([head_tokens + self.camera[0], wrists], 1).flatten(1, 2)
        points = torch.stack([head_points, *wrist_points.chunk(2)], 1).flatten(2)
        return torch.cat([grid, self.keypoint_token(points) + self.camera], 1), points.flatten(1)

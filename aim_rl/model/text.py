"""A small learned text encoder: hashed words, positions, one residual layer."""

import re
import zlib

import torch
from torch import Tensor, nn

from aim_rl.model.presets import Preset

PAD = 0


def tokenize(text: str, preset: Preset) -> Tensor:
    """Word ids int64 [L], lower case, hashed by CRC-32 (the same in every process), zero-padded, cut at L."""
    words = re.findall(r"[a-z0-9]+", text.lower())[: preset.text_length]
    ids = [1 + zlib.crc32(word.encode()) % (preset.vocab - 1) for word in words]
    return torch.tensor(ids + [PAD] * (preset.text_length - len(ids)))


class TextEncoder(nn.Module):
    """Word ids [B, L] -> text tokens [B, L, text_width]; padding stays visible, as in Wan."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.text_width
        self.words = nn.Embedding(preset.vocab, width)
        self.positions = nn.Parameter(0.1 * torch.randn(preset.text_length, width))
        self.ff = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, ids: Tensor) -> Tensor:
        h = self.words(ids) + self.positions
        return h + self.ff(h)

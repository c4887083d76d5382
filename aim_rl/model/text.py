"""A small learned text encoder of hashed words."""

import functools
import re
import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from aim_rl.model.presets import Preset
from envs.errors import UserError

PAD = 0
Tokenize = Callable[[str], Tensor]  # instruction -> ids int64 [L]; picklable, for worker processes


def tokenize(text: str, preset: Preset) -> Tensor:
    """Word ids int64 [L]: lower case, hashed by CRC-32 (the same in every process), zero-padded, cut at L.

    Raises UserError: the preset's text encoder reads its own word pieces.
    """
    if preset.text != "words":
        raise UserError(f"the preset {preset.name} reads word pieces, not hashed words; use its model's text.tokenize")
    words = re.findall(r"[a-z0-9]+", text.lower())[: preset.text_length]
    ids = [1 + zlib.crc32(word.encode()) % (preset.vocab - 1) for word in words]
    return torch.tensor(ids + [PAD] * (preset.text_length - len(ids)))


def word_tokenizer(preset: Preset) -> Tokenize:
    """`tokenize` for one preset."""
    return functools.partial(tokenize, preset=preset)


class TextEncoder(nn.Module):
    """Word ids [B, L] -> text tokens [B, L, text_dim]; padding is visible, as in Wan."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.tokenize = word_tokenizer(preset)
        self.words = nn.Embedding(preset.vocab, preset.text_dim)
        self.positions = nn.Parameter(0.1 * torch.randn(preset.text_length, preset.text_dim))

    def forward(self, ids: Tensor) -> Tensor:
        return self.words(ids) + self.positions

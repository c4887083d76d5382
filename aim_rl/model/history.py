"""The history that a decision reads: keys and values of past observations and commanded actions (docs/method.md).

They are computed once. Keys are stored rotated as the next decision sees them, at negative frames. After each decision
all keys are rotated back by the frames it took, and the oldest are dropped. Attention depends only on differences of
positions, so nothing is computed twice, and episodes of different lengths share one batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from aim_rl.model.presets import Preset
from aim_rl.model.rotary import rotation


class History(NamedTuple):
    """The last k decisions, oldest first, of n = n_obs + n_past tokens each."""

    kv: Tensor
    """[B, depth, 2, heads, k·n, head_dim]: keys and values."""
    filled: Tensor
    """Bool [B, k]: which decisions happened; the others are never read."""

    def forget(self, rows: Tensor) -> History:
        """Without the past of `rows` (bool [B]), where a new episode begins."""
        return self._replace(filled=self.filled & ~rows[:, None])


def empty_history(preset: Preset, batch: int, like: Tensor) -> History:
    """A history without decisions, in the dtype and on the device of `like`."""
    tokens = preset.history * (preset.n_obs + preset.n_past)
    kv = like.new_zeros(batch, preset.depth, 2, preset.heads, tokens, preset.head_dim)
    return History(kv, torch.zeros(batch, preset.history, dtype=torch.bool, device=like.device))


def append(history: History, decision: Tensor, happened: Tensor, preset: Preset) -> History:
    """The history of the next decision.

    Args:
        history: the history that the last decision read.
        decision: [B, depth, 2, heads, n, head_dim], its keys and values; its own observation is frame 0.
        happened: bool [B], whether there was a decision.
        preset: of the model.
    """
    kv = torch.cat([history.kv, decision], -2)[..., decision.shape[-2] :, :]
    frames = preset.execute * preset.times / preset.horizon
    back = rotation(torch.tensor([[-frames, 0.0, 0.0]], dtype=torch.float64), 1, preset.head_dim)[0, 0]
    keys, values = kv.unbind(2)
    precision = torch.float64 if keys.dtype == torch.float64 else torch.float32
    pairs = torch.view_as_complex(keys.to(precision).unflatten(-1, (-1, 2)).contiguous())
    turned = torch.view_as_real(pairs * back.to(keys.device, pairs.dtype)).flatten(-2).to(keys.dtype)
    filled = torch.cat([history.filled, happened[:, None]], 1)[:, 1:]
    return History(torch.stack([turned, values], 2), filled)

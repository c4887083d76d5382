"""Mixture of transformers: each stream owns its weights, all share one attention.

Tokens travel as groups (`visibility.GROUPS`), shaped [B, R, n, width]: R packs several samples that
share a context (draws of the action chunk); it is 1 for all others. A group has one time, so the
current observation at t = 0 and the noised future at t are two groups of one stream.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aim_rl.model.presets import Preset

TIME_FREQUENCIES = 64


def sincos_positions(rows: int, cols: int, width: int) -> Tensor:
    """2-D sine-cosine positions [rows·cols, width]: half of the channels for the row, half for the column."""

    def encode(index: Tensor, channels: int) -> Tensor:
        frequencies = torch.exp(torch.arange(channels // 2) * (-math.log(100.0) * 2 / channels))
        angles = index[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], -1)

    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    return torch.cat([encode(row.flatten(), width // 2), encode(col.flatten(), width - width // 2)], -1)


def time_features(t: Tensor) -> Tensor:
    """Times in [0, 1] [...] -> sinusoids [..., 64], as Wan with t in thousandths."""
    half = TIME_FREQUENCIES // 2
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=t.dtype) * (-math.log(10000.0) / half))
    angles = 1000 * t[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


class CrossAttention(nn.Module):
    """Tokens [B, R, n, width] read text tokens [B, L, text_width]; residual not included."""

    def __init__(self, preset: Preset, width: int) -> None:
        super().__init__()
        inner = preset.heads * preset.head_dim
        self.head_shape = (preset.heads, preset.head_dim)
        self.norm = nn.LayerNorm(width)
        self.q = nn.Linear(width, inner)
        self.kv = nn.Linear(preset.text_width, 2 * inner)
        self.q_norm = nn.RMSNorm(inner)
        self.k_norm = nn.RMSNorm(inner)
        self.out = nn.Linear(inner, width)

    def forward(self, h: Tensor, text: Tensor) -> Tensor:
        q = self.q_norm(self.q(self.norm(h).flatten(1, 2)))
        k, v = self.kv(text).chunk(2, -1)
        q, k, v = (z.unflatten(-1, self.head_shape).transpose(1, 2) for z in (q, self.k_norm(k), v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)).view_as(h)


class StreamBlock(nn.Module):
    """One stream's share of a block: norms, Q/K/V/O, feed-forward; text attention if it reads text.

    Modulated as Wan's adaLN-single: (shift, scale, gate) x 2 = the stream's time projection + own table.
    """

    def __init__(self, preset: Preset, width: int, reads_text: bool) -> None:
        super().__init__()
        inner, hidden = preset.heads * preset.head_dim, preset.ff_mult * width
        self.head_shape = (preset.heads, preset.head_dim)
        table = torch.zeros(6, width)
        table[[2, 5]] = 1  # gates open: at the start a plain pre-norm transformer
        self.table = nn.Parameter(table)
        self.qkv = nn.Linear(width, 3 * inner)
        self.q_norm = nn.RMSNorm(inner)
        self.k_norm = nn.RMSNorm(inner)
        self.out = nn.Linear(inner, width)
        self.cross = CrossAttention(preset, width) if reads_text else None
        self.ff = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def modulation(self, shared: Tensor) -> tuple[Tensor, ...]:
        """Shared projection [B, R, 6, width] -> six tensors [B, R, 1, width]."""
        return (shared + self.table).unsqueeze(-2).unbind(2)

    def queries_keys_values(self, h: Tensor, modulation: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, R, n, width] -> q, k, v [B, R·n, heads, head_dim]."""
        shift, scale = modulation[:2]
        q, k, v = self.qkv(modulate(h, shift, scale).flatten(1, 2)).chunk(3, -1)
        q, k, v = (z.unflatten(-1, self.head_shape) for z in (self.q_norm(q), self.k_norm(k), v))
        return q, k, v

    def update(self, h: Tensor, attended: Tensor, modulation: Sequence[Tensor], text: Tensor | None) -> Tensor:
        """Residual updates by the attention's result [B, R·n, heads, head_dim], text and feed-forward."""
        gate, shift, scale, gate_ff = modulation[2:]
        h = torch.addcmul(h, gate, self.out(attended.flatten(2)).view_as(h))
        if text is not None and self.cross is not None:
            h = h + self.cross(h, text)
        return torch.addcmul(h, gate_ff, self.ff(modulate(h, shift, scale)))


def modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:], eps=1e-6), 1 + scale)


class Stream(nn.Module):
    """One stream of the mixture: token embedding, positions, time conditioning, blocks, output head.

    `positions` [n, width] is the start of the learned positions.
    """

    def __init__(self, preset: Preset, token_dim: int, positions: Tensor, reads_text: bool = False) -> None:
        super().__init__()
        width = positions.shape[1]
        self.embed = nn.Linear(token_dim, width)
        self.positions = nn.Parameter(positions.clone())
        self.time = nn.Sequential(nn.Linear(TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.time_projection = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(StreamBlock(preset, width, reads_text) for _ in range(preset.depth))
        self.head_projection = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, token_dim)
        for layer in (self.time_projection, self.head_projection, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def block(self, layer: int) -> StreamBlock:
        return cast(StreamBlock, self.blocks[layer])

    def condition(self, t: Tensor) -> Tensor:
        """Times [B, R] -> conditioning vectors [B, R, width]."""
        return self.time(time_features(t))

    def shared_modulation(self, condition: Tensor) -> Tensor:
        """Conditioning [B, R, width] -> the modulation that all blocks share [B, R, 6, width]."""
        return self.time_projection(F.silu(condition)).unflatten(-1, (6, -1))

    def read_out(self, h: Tensor, condition: Tensor) -> Tensor:
        """Tokens [B, R, n, width] -> outputs [B, R, n, token_dim]."""
        shift, scale = self.head_projection(F.silu(condition)).unsqueeze(-2).chunk(2, -1)
        return self.head(modulate(h, shift, scale))


@dataclass
class Group:
    """Tokens [B, R, n, width] of one group on their way through a stream."""

    name: str
    stream: Stream
    tokens: Tensor
    condition: Tensor  # [B or 1, R, width]
    text: Tensor | None = None  # [B, L, text_width]
    is_output: bool = True  # False: of the last block only keys and values are wanted

    @property
    def count(self) -> int:
        return self.tokens.shape[1] * self.tokens.shape[2]

    def read_out(self) -> Tensor:
        return self.stream.read_out(self.tokens, self.condition)


def mixture(groups: Sequence[Group], mask: Tensor | None, context: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
    """Runs `groups` through all blocks, replacing their tokens; returns each block's keys and values.

    mask [Q, K] over the groups' tokens in order, preceded in K by the context's (None: all visible).
    context [B, depth, 2, heads, n, head_dim] adds keys and values computed earlier. Returned keys
    and values are [B, heads, n, head_dim].
    """
    shared = [group.stream.shared_modulation(group.condition) for group in groups]
    counts = [group.count for group in groups]
    earlier = [] if context is None else [layer.unbind(1) for layer in context.unbind(1)]
    cache = []
    depth = len(groups[0].stream.blocks)
    for layer in range(depth):
        blocks = [group.stream.block(layer) for group in groups]
        modulations = [block.modulation(m) for block, m in zip(blocks, shared, strict=True)]
        triples = zip(blocks, groups, modulations, strict=True)
        qkv = [block.queries_keys_values(group.tokens, m) for block, group, m in triples]
        q, k, v = (torch.cat(parts, 1).transpose(1, 2) for parts in zip(*qkv, strict=True))
        cache.append((k, v))
        if earlier:
            k, v = (torch.cat(pair, 2) for pair in zip(earlier[layer], (k, v), strict=True))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).split(counts, 1)
        for block, group, modulation, part in zip(blocks, groups, modulations, attended, strict=True):
            if group.is_output or layer < depth - 1:
                group.tokens = block.update(group.tokens, part, modulation, group.text)
    return cache

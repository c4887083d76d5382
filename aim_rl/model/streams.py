"""Mixture of transformers: each stream owns its weights, all share one attention.

A stream is Wan2.2's transformer (diffusers' WanTransformer3DModel): alone, without a mask and with Wan's weights
(`wan_weights`) it computes what Wan computes. Streams that read no text have no cross-attention.

Tokens are passed as segments of one kind (`visibility.TOKEN_KINDS`), shaped [B, R, n, width]. R counts samples that
share a context (draws of the action chunk) and is 1 for the other kinds. The current observation at t = 0 and the
noised future at t are two segments of one stream because they read different kinds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aim_rl.model.presets import Preset
from aim_rl.model.rotary import rotate

NORM_EPS = 1e-6  # of every norm, as in Wan


def sincos_positions(rows: int, cols: int, width: int) -> Tensor:
    """2-D sine-cosine positions [rows·cols, width]: half of the channels for the row, half for the column."""

    def encode(index: Tensor, channels: int) -> Tensor:
        frequencies = torch.exp(torch.arange(channels // 2) * (-math.log(100.0) * 2 / channels))
        angles = index[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], -1)

    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    return torch.cat([encode(row.flatten(), width // 2), encode(col.flatten(), width - width // 2)], -1)


def time_features(t: Tensor, count: int) -> Tensor:
    """Times in [0, 1] [...] -> sinusoids [..., count], as Wan with t in thousandths; at least in float32."""
    half = count // 2
    t = t if t.dtype == torch.float64 else t.float()
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=t.dtype) * (-math.log(10000.0) / half))
    angles = 1000 * t[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


def modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:], eps=NORM_EPS), 1 + scale)


def mlp(width_in: int, hidden: int, width: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, hidden), activation, nn.Linear(hidden, width))


class CrossAttention(nn.Module):
    """Tokens [B, R, n, width] attend to a text; without the residual. WanTransformerBlock's attn2."""

    def __init__(self, preset: Preset, width: int) -> None:
        super().__init__()
        inner = preset.heads * preset.head_dim
        self.head_shape = (preset.heads, preset.head_dim)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.q = nn.Linear(width, inner)
        self.kv = nn.Linear(width, 2 * inner)
        self.q_norm = nn.RMSNorm(inner, eps=NORM_EPS)
        self.k_norm = nn.RMSNorm(inner, eps=NORM_EPS)
        self.out = nn.Linear(inner, width)

    def keys_values(self, text: Tensor) -> Tensor:
        """Projected text [B, L, width] -> [B, 2, heads, L, head_dim]."""
        k, v = self.kv(text).chunk(2, -1)
        return torch.stack([self.k_norm(k), v], 1).unflatten(-1, self.head_shape).transpose(2, 3)

    def forward(self, h: Tensor, text: Tensor) -> Tensor:
        q = self.q_norm(self.q(self.norm(h).flatten(1, 2))).unflatten(-1, self.head_shape).transpose(1, 2)
        k, v = text.unbind(1)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.out(attended.transpose(1, 2).flatten(2)).view_as(h)


class StreamBlock(nn.Module):
    """One stream's part of a block: norms, Q/K/V/O, feed-forward, and text attention if the stream reads text.

    Diffusers' WanTransformerBlock without the attention itself, which `mixture` computes. Modulation is Wan's
    adaLN-single: (shift, scale, gate) x 2 = the stream's time projection + the block's own table.
    """

    def __init__(self, preset: Preset, width: int, hidden: int, reads_text: bool) -> None:
        super().__init__()
        inner = preset.heads * preset.head_dim
        self.head_shape = (preset.heads, preset.head_dim)
        table = torch.zeros(6, width)
        table[[2, 5]] = 1  # open gates: initially a plain pre-norm transformer
        self.table = nn.Parameter(table)
        self.qkv = nn.Linear(width, 3 * inner)
        self.q_norm = nn.RMSNorm(inner, eps=NORM_EPS)
        self.k_norm = nn.RMSNorm(inner, eps=NORM_EPS)
        self.out = nn.Linear(inner, width)
        self.cross = CrossAttention(preset, width) if reads_text else None
        self.ff = mlp(width, hidden, width, nn.GELU(approximate="tanh"))

    def modulation(self, shared: Tensor) -> tuple[Tensor, ...]:
        """Shared projection [B, R, n or 1, 6, width] -> six tensors [B, R, n or 1, width]."""
        return (shared + self.table).unbind(-2)

    def queries_keys_values(
        self, h: Tensor, modulation: Sequence[Tensor], rotation: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, R, n, width], rotation [R·n, heads, head_dim / 2] -> q, k, v [B, R·n, heads, head_dim]."""
        shift, scale = modulation[:2]
        q, k, v = self.qkv(modulate(h, shift, scale).flatten(1, 2)).chunk(3, -1)
        q, k, v = (z.unflatten(-1, self.head_shape) for z in (self.q_norm(q), self.k_norm(k), v))
        return rotate(q, rotation), rotate(k, rotation), v

    def text_keys_values(self, text: Tensor) -> Tensor:
        """Projected text [B, L, width] -> [B, 2, heads, L, head_dim], of a block that reads text."""
        assert self.cross is not None
        return self.cross.keys_values(text)

    def update(self, h: Tensor, attended: Tensor, modulation: Sequence[Tensor], text: Tensor | None) -> Tensor:
        """Adds the attention's result [B, R·n, heads, head_dim], the text attention and the feed-forward to h."""
        gate, shift, scale, gate_ff = modulation[2:]
        h = torch.addcmul(h, gate, self.out(attended.flatten(2)).view_as(h))
        if text is not None and self.cross is not None:
            h = h + self.cross(h, text)
        return torch.addcmul(h, gate_ff, self.ff(modulate(h, shift, scale)))


class Stream(nn.Module):
    """One stream of the mixture: token embedding, time conditioning, text projection, blocks, output head.

    Args:
        preset: sizes that all streams share.
        token_dim: numbers per token, in and out.
        width: of the tokens between the blocks.
        hidden: width of the feed-forward.
        positions: [n, width], initial values of learned positions, which Wan does not have.
        reads_text: whether the blocks have text attention.
        deep: whether an MLP embeds tokens; otherwise one linear layer, as in Wan.
    """

    def __init__(
        self,
        preset: Preset,
        token_dim: int,
        width: int,
        hidden: int,
        positions: Tensor | None = None,
        reads_text: bool = False,
        deep: bool = False,
    ) -> None:
        super().__init__()
        self.time_frequencies = preset.time_frequencies
        self.embedding = mlp(token_dim, width, width, nn.SiLU()) if deep else nn.Linear(token_dim, width)
        self.positions = None if positions is None else nn.Parameter(positions)
        self.time = mlp(preset.time_frequencies, width, width, nn.SiLU())
        self.time_projection = nn.Linear(width, 6 * width)
        self.text = mlp(preset.text_dim, width, width, nn.GELU(approximate="tanh")) if reads_text else None
        self.blocks = nn.ModuleList(StreamBlock(preset, width, hidden, reads_text) for _ in range(preset.depth))
        self.head_table = nn.Parameter(torch.zeros(2, width))
        self.head = nn.Linear(width, token_dim)
        for layer in (self.time_projection, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def block(self, layer: int) -> StreamBlock:
        return cast(StreamBlock, self.blocks[layer])

    def embed(self, z: Tensor) -> Tensor:
        """Tokens [..., n, token_dim] -> [..., n, width], plus the first n of the learned positions, if any."""
        h = self.embedding(z)
        return h if self.positions is None else h + self.positions[: z.shape[-2]]

    def read_text(self, text: Tensor) -> Tensor:
        """Text [B, L, text_dim] -> keys and values for every block [B, depth, 2, heads, L, head_dim]."""
        assert self.text is not None
        projected = self.text(text)
        layers = range(len(self.blocks))
        return torch.stack([self.block(layer).text_keys_values(projected) for layer in layers], 1)

    def condition(self, t: Tensor) -> Tensor:
        """Times [B, R, n or 1] -> conditioning vectors [B, R, n or 1, width]; without autocast, as in Wan."""
        with torch.autocast("cuda" if t.is_cuda else "cpu", enabled=False):  # the meta device has no autocast
            return self.time(time_features(t, self.time_frequencies).to(self.head.weight.dtype))

    def shared_modulation(self, condition: Tensor) -> Tensor:
        """Conditioning [B, R, n or 1, width] -> the modulation that all blocks share [B, R, n or 1, 6, width]."""
        return self.time_projection(F.silu(condition)).unflatten(-1, (6, -1))

    def read_out(self, h: Tensor, condition: Tensor) -> Tensor:
        """Tokens [B, R, n, width] -> outputs [B, R, n, token_dim]."""
        shift, scale = (condition[..., None, :] + self.head_table).unbind(-2)
        return self.head(modulate(h, shift, scale))


@dataclass
class Segment:
    """Tokens [B, R, n, width] of one kind on their way through a stream."""

    kind: str
    stream: Stream
    tokens: Tensor
    condition: Tensor  # [B or 1, R, n, width], or 1 for n where all tokens share one time
    rotation: Tensor  # [R·n, heads, head_dim / 2], complex
    text: Tensor | None = None  # [B, depth, 2, heads, L, head_dim], from `Stream.read_text`
    is_output: bool = True  # False: only the last block's keys and values are needed

    @property
    def count(self) -> int:
        return self.tokens.shape[1] * self.tokens.shape[2]

    def read_out(self) -> Tensor:
        return self.stream.read_out(self.tokens, self.condition)


def mixture(
    segments: Sequence[Segment], mask: Tensor | None, context: Tensor | None = None, recompute: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """Runs `segments` through all blocks, in place.

    Args:
        segments: their tokens are replaced by those after the last block.
        mask: [Q, K], the segments' tokens in order, in K preceded by the context's; None: all are visible.
        context: [B, depth, 2, heads, n, head_dim], keys and values computed earlier.
        recompute: gradient checkpointing, which keeps only the tokens between the blocks for the backward pass.

    Returns:
        Keys and values of each block, [B, heads, n, head_dim].
    """
    shared = [segment.stream.shared_modulation(segment.condition) for segment in segments]
    earlier = [None] * len(segments[0].stream.blocks) if context is None else context.unbind(1)
    cache = []
    for layer, before in enumerate(earlier):
        arguments = (segments, [segment.tokens for segment in segments], shared, layer, mask, before)
        if recompute and torch.is_grad_enabled():
            tokens, pair = checkpoint(_layer, *arguments, use_reentrant=False)
        else:
            tokens, pair = _layer(*arguments)
        cache.append(pair)
        for segment, h in zip(segments, tokens, strict=True):
            segment.tokens = h
    return cache


def _layer(
    segments: Sequence[Segment],
    tokens: Sequence[Tensor],
    shared: Sequence[Tensor],
    layer: int,
    mask: Tensor | None,
    before: Tensor | None,
) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """One block of all segments.

    Args:
        segments, mask: as in `mixture`.
        tokens: of the segments, before the block.
        shared: the segments' shared modulation.
        layer: index of the block.
        before: [B, 2, heads, n, head_dim], keys and values of the context.

    Returns:
        The tokens after the block, and its keys and values [B, heads, n, head_dim].
    """
    blocks = [segment.stream.block(layer) for segment in segments]
    modulations = [block.modulation(m) for block, m in zip(blocks, shared, strict=True)]
    parts = zip(blocks, tokens, modulations, segments, strict=True)
    qkv = [block.queries_keys_values(h, m, segment.rotation) for block, h, m, segment in parts]
    q, own_k, own_v = (torch.cat(part, 1).transpose(1, 2) for part in zip(*qkv, strict=True))
    k, v = own_k, own_v
    if before is not None:
        k, v = (torch.cat(pair, 2) for pair in zip(before.unbind(1), (k, v), strict=True))
    counts = [segment.count for segment in segments]
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).split(counts, 1)
    is_last = layer == len(segments[0].stream.blocks) - 1
    after = []
    for segment, block, h, modulation, part in zip(segments, blocks, tokens, modulations, attended, strict=True):
        text = None if segment.text is None else segment.text[:, layer]
        after.append(block.update(h, part, modulation, text) if segment.is_output or not is_last else h)
    return after, (own_k, own_v)

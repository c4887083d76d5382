"""Rotary positions on three axes (frame, row, column), as Wan's (diffusers' WanRotaryPosEmbed).

Keys are rotated before they are cached, by their absolute frame. Attention sees differences of positions only, so a
cached key stays valid however far the rollout has gone; aim_rl/model/history.py turns it to the clock of its reader.
"""

import torch
from torch import Tensor

from aim_rl.model.presets import Preset

BASE = 10000.0
OFF_CANVAS = -1.0  # row and column of tokens that lie nowhere on the canvas, as LingBot-VA's actions


def chunk_positions(preset: Preset) -> dict[str, Tensor]:
    """Positions (frame, row, column) f64 [n, 3] of the tokens of groups obs, x, m, a and past_act in a chunk.

    The unit of frames is a token's: the observation is frame 0 and the future frames 1, 2 and so on. The value
    maps share the video's grid. A waypoint stands at the moment it is reached, on the same clock.
    """
    n_keypoints = preset.n_obs - preset.grid[0] * preset.grid[1]
    future = _on_canvas(preset, 1, 1 + preset.times)
    waypoints = torch.arange(1, preset.n_waypoints + 1, dtype=torch.float64) * (preset.times / preset.n_waypoints)
    keypoints = torch.zeros(n_keypoints, dtype=torch.float64)
    return {
        "obs": torch.cat([_on_canvas(preset, 0, 1), _off_canvas(keypoints)]),
        "x": future,
        "m": future,
        "a": _off_canvas(waypoints),
        "past_act": _off_canvas(waypoints[: preset.n_past]),
    }


def _on_canvas(preset: Preset, first: int, end: int) -> Tensor:
    rows, cols = preset.grid
    axes = [torch.arange(*span, dtype=torch.float64) for span in ((first, end), (0, rows), (0, cols))]
    return torch.cartesian_prod(*axes)


def _off_canvas(frames: Tensor) -> Tensor:
    return torch.stack([frames, *[torch.full_like(frames, OFF_CANVAS)] * 2], -1)


def rotation(positions: Tensor, heads: int, head_dim: int) -> Tensor:
    """Positions [n, 3] -> unit complex numbers [n, heads, head_dim / 2], as precise as `positions`.

    The same for all heads, spread out because a product without broadcasting takes half the time on a CPU.
    A third of the pairs (rounded down) turns with the row, as many with the column, the rest with the frame; pair i
    of p on its axis by the angle position / 10000^(i/p).
    """
    third = head_dim // 6
    pairs = (head_dim // 2 - 2 * third, third, third)
    like = {"dtype": positions.dtype, "device": positions.device}
    angles = [
        position[:, None] * BASE ** -(torch.arange(count, **like) / count)
        for position, count in zip(positions.unbind(-1), pairs, strict=True)
    ]
    angle = torch.cat(angles, -1)
    return torch.polar(torch.ones_like(angle), angle)[:, None].repeat(1, heads, 1)


def rotate(z: Tensor, by: Tensor) -> Tensor:
    """Queries or keys [B, n, heads, head_dim], turned by the rotation [n, heads, head_dim / 2]."""
    pairs = z.to(by.real.dtype).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # which generates no code for complex numbers; without it, they are faster
        (a, b), (c, s) = pairs.unbind(-1), torch.view_as_real(by).unbind(-1)
        turned = torch.stack([a * c - b * s, a * s + b * c], -1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * by)
    return turned.flatten(-2).to(z.dtype)

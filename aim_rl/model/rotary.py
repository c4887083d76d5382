"""Rotary positions on three axes (frame, row, column), as Wan's (diffusers' WanRotaryPosEmbed).

Keys are rotated before they are cached. Attention depends only on differences of positions, so a cached key stays valid
throughout the rollout; aim_rl/model/history.py rotates it to the frames of the decision that reads it.
"""

import torch
from torch import Tensor

from aim_rl.model.presets import Preset

BASE = 10000.0
OFF_CANVAS = -1.0  # row and column of tokens that are not on the canvas, as for LingBot-VA's actions


def chunk_positions(preset: Preset) -> dict[str, Tensor]:
    """Positions (frame, row, column) f64 [n, 3] of a chunk's tokens of kinds obs, x, m, a and past_act.

    Frames are token frames: the observation is frame 0, the future frames 1, 2 and so on. The value maps share the
    video's grid. A waypoint's frame is the time at which it is reached.
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

    A third of the pairs (rounded down) encodes the row, as many the column, the rest the frame; pair i of p on its axis
    turns by the angle position / 10000^(i/p). All heads are equal; they are repeated because a product without
    broadcasting takes half the time on a CPU.
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
    """Queries or keys [B, n, heads, head_dim], rotated by [n, heads, head_dim / 2]."""
    pairs = z.to(by.real.dtype).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # it generates no code for complex numbers, which are faster without it
        (a, b), (c, s) = pairs.unbind(-1), torch.view_as_real(by).unbind(-1)
        turned = torch.stack([a * c - b * s, a * s + b * c], -1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * by)
    return turned.flatten(-2).to(z.dtype)

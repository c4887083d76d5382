"""Procedural colour patterns for `randomized`, in place of RoboTwin's texture files."""

from __future__ import annotations

import numpy as np
import sapien
from numpy.typing import NDArray

SIDE = 256  # px


def pattern(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random RGBA picture u8 [256, 256, 4]: stripes, checks, clouds or grains of two related colours."""
    first = rng.uniform(0.2, 0.95, 3)
    second = np.clip(first + rng.uniform(-0.35, 0.35, 3), 0.1, 1.0)
    u, v = np.meshgrid(np.linspace(0, 1, SIDE, endpoint=False), np.linspace(0, 1, SIDE, endpoint=False))
    kind, waves = rng.integers(4), rng.integers(3, 16)
    if kind == 0:
        angle = rng.uniform(0, np.pi)
        mix = (np.sin(2 * np.pi * waves * (u * np.cos(angle) + v * np.sin(angle))) > 0).astype(float)
    elif kind == 1:
        mix = ((np.floor(2 * waves * u) + np.floor(2 * waves * v)) % 2).astype(float)
    elif kind == 2:
        mix = np.zeros_like(u)
        for _ in range(4):
            frequency, phase = rng.uniform(-8, 8, 2), rng.uniform(0, 2 * np.pi)
            mix += 0.125 + 0.125 * np.sin(2 * np.pi * (frequency[0] * u + frequency[1] * v) + phase)
    else:
        mix = np.repeat(rng.uniform(0, 1, (SIDE, SIDE // 16)), 16, axis=1)
    picture = np.full((SIDE, SIDE, 4), 255, np.uint8)
    picture[..., :3] = 255 * (first + mix[..., None] * (second - first))
    return picture


def patterned(rng: np.random.Generator) -> sapien.render.RenderMaterial:
    """A render material with a random pattern."""
    made = sapien.render.RenderMaterial()
    made.base_color = [1.0, 1.0, 1.0, 1.0]
    made.base_color_texture = sapien.render.RenderTexture2D(pattern(rng), "R8G8B8A8Unorm")
    made.roughness = 0.7
    return made

"""One interaction point drawn into a camera's picture: what value maps are made of (PAPER.md, "Value-map labels")."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIGMA = 0.03
"""s in sigma_px = clip(f s / Z, sigma_min, sigma_max), m."""
SIGMA_LIMITS = (0.02, 0.10)
"""sigma_min and sigma_max as fractions of the image height, so that maps look alike at any resolution."""


def draw_point(
    world: NDArray[np.floating],
    intrinsic: NDArray[np.floating],
    extrinsic: NDArray[np.floating],
    image_size: tuple[int, int],
    map_size: tuple[int, int],
) -> NDArray[np.float32]:
    """The Gaussian of one point in F frames.

    Its width follows intrinsics and depth; where the point is behind the camera, the map is empty.

    Args:
        world: [F, 3], the point in the world (m).
        intrinsic: [F, 3, 3], in px of an image of `image_size`. Pixel (row i, column j) covers
            [j, j + 1) x [i, i + 1), so its centre lies at (j + 0.5, i + 0.5).
        extrinsic: [F, 3, 4], world to camera, OpenCV axes, m.
        image_size: (H, W) that the intrinsics refer to.
        map_size: (H, W) of the result.

    Returns:
        f32 [F, H, W] in [0, 1].
    """
    (height, width), maps = map_size, np.zeros((len(world), *map_size), np.float32)
    scale_x, scale_y = width / image_size[1], height / image_size[0]
    low, high = (fraction * image_size[0] for fraction in SIGMA_LIMITS)
    camera = np.einsum("fij,fj->fi", extrinsic[:, :, :3], world) + extrinsic[:, :, 3]
    visible = camera[:, 2] > 1e-3
    camera, intrinsic = camera[visible], intrinsic[visible]
    pixel = np.einsum("fij,fj->fi", intrinsic, camera)
    u, v = pixel[:, 0] / pixel[:, 2] * scale_x, pixel[:, 1] / pixel[:, 2] * scale_y
    sigma = np.clip(intrinsic[:, 1, 1] * SIGMA / camera[:, 2], low, high)
    # The Gaussian is separable, also where the map's pixels are not square.
    across = _gaussian(np.arange(width) + 0.5 - u[:, None], sigma[:, None] * scale_x)
    down = _gaussian(np.arange(height) + 0.5 - v[:, None], sigma[:, None] * scale_y)
    maps[visible] = down[:, :, None] * across[:, None, :]
    return maps


def _gaussian(distance: NDArray[np.floating], sigma: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)

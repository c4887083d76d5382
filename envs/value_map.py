"""Contact points and regions drawn into a camera's picture: what value maps are made of (docs/method.md)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIGMA = 0.03
"""s in sigma_px = clip(f s / Z, sigma_min, sigma_max), m."""
SIGMA_LIMITS = (0.02, 0.10)
"""sigma_min and sigma_max as fractions of the image height, so that maps look alike at any resolution."""


SPLIT = 4
"""Each triangle of a contact region is sampled at SPLIT² points."""


def draw_region(
    world: NDArray[np.floating],
    weight: NDArray[np.floating],
    intrinsic: NDArray[np.floating],
    extrinsic: NDArray[np.floating],
    image_size: tuple[int, int],
    map_size: tuple[int, int],
) -> NDArray[np.float32]:
    """A weighted sum of Gaussians in F frames, scaled to 1 at the weighted mean of their centres, at most 1.

    A Gaussian's width follows intrinsics and depth; samples behind the camera are skipped.

    Args:
        world: [F, M, 3], samples of the region in the world frame (m).
        weight: [M], their weights, of sum 1.
        intrinsic: [F, 3, 3], in px of an image of `image_size`. Pixel (row i, column j) covers
            [j, j + 1) x [i, i + 1), so its centre lies at (j + 0.5, i + 0.5).
        extrinsic: [F, 3, 4], world to camera, OpenCV axes, m.
        image_size: (H, W) that the intrinsics refer to.
        map_size: (H, W) of the result.

    Returns:
        f32 [F, H, W] in [0, 1].
    """
    height, width = map_size
    scale_x, scale_y = width / image_size[1], height / image_size[0]
    low, high = (fraction * image_size[0] for fraction in SIGMA_LIMITS)
    camera = np.einsum("fij,fmj->fmi", extrinsic[:, :, :3], world) + extrinsic[:, None, :, 3]
    visible = camera[..., 2] > 1e-3
    camera = np.where(visible[..., None], camera, [0.0, 0.0, 1.0])
    pixel = np.einsum("fij,fmj->fmi", intrinsic, camera)
    u, v = pixel[..., 0] / pixel[..., 2] * scale_x, pixel[..., 1] / pixel[..., 2] * scale_y
    sigma = np.clip(intrinsic[:, None, 1, 1] * SIGMA / camera[..., 2], low, high)
    # The Gaussian is separable, also where the map's pixels are not square.
    across = _gaussian(np.arange(width) + 0.5 - u[..., None], sigma[..., None] * scale_x)
    down = _gaussian(np.arange(height) + 0.5 - v[..., None], sigma[..., None] * scale_y)
    share = (weight * visible).astype(np.float32)
    middle_u, middle_v = (np.sum(weight * z, 1, keepdims=True) for z in (u, v))
    top = share * _gaussian(u - middle_u, sigma * scale_x) * _gaussian(v - middle_v, sigma * scale_y)
    maps = np.einsum("fm,fmh,fmw->fhw", share, down, across, optimize=True)
    return np.minimum(maps / top.sum(1).clip(1e-6)[:, None, None], 1.0).astype(np.float32)


def fill_region(points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Samples of the convex region that contact points [n, 3] (m) span, and their weights, which are areas.

    The points lie about in a plane. Their hull there is cut into triangles around its middle; each is sampled at the
    centres of SPLIT² smaller ones. Points in a line, or a single one, are sampled alike.

    Returns:
        [M, 3] in the frame of `points`, and [M] of sum 1.
    """
    middle = points.mean(0)
    _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
    flat = (points - middle) @ axes[:2].T if len(points) > 2 else np.zeros((len(points), 2))
    corners = points
    if len(points) > 2:
        corners = points[cv2.convexHull(flat.astype(np.float32), returnPoints=False)[:, 0].astype(int)]
    middle = corners.mean(0)
    sides = np.stack([corners, np.roll(corners, -1, axis=0)], 1) - middle  # [n, 2, 3]
    samples = middle + np.einsum("sc,nci->nsi", _CENTRES, sides)
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1) / 2 + 1e-9
    return samples.reshape(-1, 3), np.repeat(area / area.sum() / len(_CENTRES), len(_CENTRES))


def _centres() -> NDArray[np.float64]:
    """Barycentric coordinates [SPLIT², 2] (of the second and third corner) of the centres of a triangle's parts."""
    upright = [(i + 1 / 3, j + 1 / 3) for i in range(SPLIT) for j in range(SPLIT - i)]
    turned = [(i + 2 / 3, j + 2 / 3) for i in range(SPLIT - 1) for j in range(SPLIT - 1 - i)]
    return np.array(upright + turned) / SPLIT


_CENTRES = _centres()


def _gaussian(distance: NDArray[np.floating], sigma: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)

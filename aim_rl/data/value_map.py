"""Value-map labels, rendered from 3-D contacts at load time (PAPER.md, "Value-map labels")."""

from __future__ import annotations

import numpy as np

from aim_rl.data.episode import CAMERAS, Contacts, Episode

SIGMA = 0.03
"""s in sigma_px = clip(f s / Z, sigma_min, sigma_max), m."""
SIGMA_LIMITS = (0.02, 0.10)
"""sigma_min and sigma_max as fractions of the image height, so that maps look alike at any resolution."""


def render_value_maps(
    contacts: Contacts,
    times: np.ndarray,
    intrinsic: np.ndarray,
    extrinsic: np.ndarray,
    image_size: tuple[int, int],
    map_size: tuple[int, int],
) -> np.ndarray:
    """The value maps of one camera at F frames.

    A frame at time tau carries the next event of the episode, whichever arm it is (t_prev < tau <= t_event),
    drawn where its points are at tau; after the last event the map is empty. A value is the max over events
    and points of a Gaussian whose width follows intrinsics and depth. Points behind the camera are skipped;
    occlusion is not modelled.

    Args:
        contacts: the interaction points.
        times: [F], frame numbers.
        intrinsic: [3, 3] or [F, 3, 3], in px of an image of `image_size`. Pixel (row i, column j) covers
            [j, j + 1) x [i, i + 1), so its centre lies at (j + 0.5, i + 0.5).
        extrinsic: [3, 4] or [F, 3, 4], world to camera, OpenCV axes, m.
        image_size: (H, W) that the intrinsics refer to.
        map_size: (H, W) of the result.

    Returns:
        f32 [F, 3, H, W] in [0, 1]; channel 0: the left arm's event, 1: the right arm's, 2: the max of both.
    """
    times = np.asarray(times)
    frames = len(times)
    height, width = map_size
    scale_x, scale_y = width / image_size[1], height / image_size[0]
    intrinsic = np.broadcast_to(intrinsic, (frames, 3, 3))
    extrinsic = np.broadcast_to(extrinsic, (frames, 3, 4))
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    low, high = (fraction * image_size[0] for fraction in SIGMA_LIMITS)

    maps = np.zeros((frames, 3, height, width), np.float32)
    due = next_event_times(contacts, times)
    for point, event_time in enumerate(contacts.time):
        now = np.flatnonzero(due == event_time)
        world = contacts.world(point, times[now])
        camera = np.einsum("fij,fj->fi", extrinsic[now, :, :3], world) + extrinsic[now, :, 3]
        visible = camera[:, 2] > 1e-3
        now, camera = now[visible], camera[visible]
        pixel = np.einsum("fij,fj->fi", intrinsic[now], camera)
        u, v = pixel[:, 0] / pixel[:, 2] * scale_x, pixel[:, 1] / pixel[:, 2] * scale_y
        sigma = np.clip(intrinsic[now, 1, 1] * SIGMA / camera[:, 2], low, high)
        # The Gaussian is separable, also where the map's pixels are not square.
        across = _gaussian(columns - u[:, None], sigma[:, None] * scale_x)
        down = _gaussian(rows - v[:, None], sigma[:, None] * scale_y)
        channel = maps[:, contacts.arm[point]]
        channel[now] = np.maximum(channel[now], down[:, :, None] * across[:, None, :])
    np.maximum(maps[:, 0], maps[:, 1], out=maps[:, 2])
    return maps


def next_event_times(contacts: Contacts, times: np.ndarray) -> np.ndarray:
    """Frame of the first event at or after each of `times` [F]; -1 after the last event."""
    event_times = np.unique(contacts.time)
    index = np.searchsorted(event_times, times, side="left")
    return np.append(event_times, -1)[index]


def canvas_maps(
    episode: Episode,
    times: np.ndarray,
    head_tile: tuple[int, int] = (48, 64),
    wrist_tile: tuple[int, int] = (32, 32),
) -> np.ndarray:
    """The value maps of all three cameras on the T-pose canvas: head on top, left | right wrist below.

    Every camera is rendered into its own tile, so a blob ends at the seam.

    Args:
        episode: contacts, and per frame the cameras.
        times: [F], frame numbers.
        head_tile: (H, W) of the head camera's tile.
        wrist_tile: (H, W) of each wrist camera's tile; two of them are as wide as the head's.

    Returns:
        f32 [F, 3, H_head + H_wrist, W_head] in [0, 1], channels as in `render_value_maps`.
    """
    head, left, right = (
        render_value_maps(
            episode.contacts,
            times,
            getattr(episode, f"{camera}_intrinsic")[times],
            getattr(episode, f"{camera}_extrinsic")[times],
            getattr(episode, camera).shape[1:3],
            head_tile if camera == "head_camera" else wrist_tile,
        )
        for camera in CAMERAS
    )
    return t_pose(head, left, right)


def t_pose(head: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[..., Hh, W], [..., Hw, W/2], [..., Hw, W/2] -> [..., Hh + Hw, W]."""
    return np.concatenate([head, np.concatenate([left, right], axis=-1)], axis=-2)


def _gaussian(distance: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)

"""Value-map labels, rendered from 3-D contacts at load time (docs/method.md, "Value-map labels")."""

from __future__ import annotations

import numpy as np
import torch

from aim_rl.data.episode import Contacts, Episode
from aim_rl.model.tokenizer import paste
from envs.constants import CAMERAS, PLACE
from envs.value_map import draw_region, fill_region


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
    drawn where its points are at tau; after the last event the map is empty. Picks and presses are the points
    themselves; a placement is the region that its points span, because the tool belongs in its middle
    (`envs.value_map`). A value is the max over them. What is behind the camera is skipped; occlusion is not modelled.

    Args:
        contacts: the interaction points.
        times: [F], frame numbers.
        intrinsic: [3, 3] or [F, 3, 3], in px of an image of `image_size`, as in `draw_region`.
        extrinsic: [3, 4] or [F, 3, 4], world to camera, OpenCV axes, m.
        image_size: (H, W) that the intrinsics refer to.
        map_size: (H, W) of the result.

    Returns:
        f32 [F, 3, H, W] in [0, 1]; channel 0: the left arm's event, 1: the right arm's, 2: the max of both.
    """
    times = np.asarray(times)
    frames = len(times)
    intrinsic = np.broadcast_to(intrinsic, (frames, 3, 3))
    extrinsic = np.broadcast_to(extrinsic, (frames, 3, 4))
    maps = np.zeros((frames, 3, *map_size), np.float32)
    due = next_event_times(contacts, times)
    for event in np.unique(contacts.event):
        points = np.flatnonzero(contacts.event == event)
        first = int(points[0])  # time, kind and arm are the event's
        now = np.flatnonzero(due == contacts.time[first])
        camera = (intrinsic[now], extrinsic[now], image_size, map_size)
        if contacts.kind[first] == PLACE:
            samples, weight = fill_region(contacts.point[points])
            regions = [(contacts.to_world(samples, int(contacts.body[first]), times[now]), weight)]
        else:
            regions = [(contacts.world(point, times[now])[:, None], np.ones(1)) for point in points.tolist()]
        channel = maps[:, contacts.arm[first]]
        for world, weight in regions:
            channel[now] = np.maximum(channel[now], draw_region(world, weight, *camera))
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
        torch.from_numpy(
            render_value_maps(
                episode.contacts,
                times,
                getattr(episode, f"{camera}_intrinsic")[times],
                getattr(episode, f"{camera}_extrinsic")[times],
                getattr(episode, camera).shape[1:3],
                head_tile if camera == "head_camera" else wrist_tile,
            )
        )
        for camera in CAMERAS
    )
    return paste(head, left, right).numpy()

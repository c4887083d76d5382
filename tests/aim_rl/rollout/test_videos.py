"""What is drawn into the pictures of a policy lies where it belongs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from aim_rl.rollout.videos import draw_view
from envs.base import View
from envs.pictures import ARM_COLOURS

GREY = 120
HEAD = torch.tensor([[100.0, 0, 32], [0, 100, 24], [0, 0, 1]])  # px of 48 x 64
WIDE = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], np.float32)  # px of 480 x 640
EXTRINSIC = torch.eye(4)[:3]
POINT, TOOL = torch.tensor([0.1, 0.05, 1.0]), torch.tensor([-0.2, 0.1, 1.0])  # m


def drawn(view: View, arm: int) -> NDArray[np.uint8]:
    """A map [12, 16] with one bright cell where `POINT` lies, in the channel of `arm`, whose tool moves to `TOOL`."""
    value_map, commanded = torch.zeros(1, 3, 12, 16), torch.full((4, 2, 3), -1.0)  # behind the camera
    u, v, _ = (HEAD @ POINT).tolist()
    value_map[0, arm, int(v / 4), int(u / 4)] = 1.0
    commanded[:2, arm] = TOOL
    decision = {
        "value_map": value_map,
        "commanded_tcp": commanded,
        "head_camera": torch.zeros(48, 64, 3, dtype=torch.uint8),
        "head_camera_intrinsic": HEAD,
        "head_camera_extrinsic": EXTRINSIC,
    }
    return draw_view(view, decision, execute=2)


def middle(where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean position (u, v) of the pixels that are set."""
    return np.argwhere(where).mean(0)[::-1] + 0.5


def test_map_and_tool_are_drawn_at_their_places_in_the_wider_picture() -> None:
    for arm, colour in enumerate(ARM_COLOURS):
        picture = drawn(View(np.full((480, 640, 3), GREY, np.uint8), WIDE), arm).astype(int)
        exact = (picture == colour).all(-1)  # the dot; the glow is transparent
        assert np.abs(middle(exact) - (WIDE @ TOOL.numpy())[:2]).max() < 1.5
        strongest = np.abs(picture - GREY).sum(-1) * ~(np.ptp(picture, -1) < 60)
        u, v = (WIDE @ POINT.numpy())[:2]
        strongest[:, :300] = 0  # without the dot
        at = middle(strongest > 0.8 * strongest.max())
        assert np.abs(at - (u, v)).max() < 4 / 100 * 500  # a cell of the map


def test_the_frame_is_what_the_head_camera_sees() -> None:
    picture = drawn(View(np.full((480, 640, 3), GREY, np.uint8), WIDE), 0)
    rows, columns = np.nonzero((picture == 255).all(-1) & (np.arange(640) > 240))  # without the dot's white edge
    assert (rows.min(), rows.max()) == (240 - 120, 240 + 119) and columns.max() == 320 + 159


def test_a_small_picture_is_enlarged_together_with_what_is_drawn() -> None:
    """A RoboTwin checkout delivers no picture for people."""
    picture = drawn(View(np.full((48, 64, 3), GREY, np.uint8), HEAD.numpy()), 0)
    assert picture.shape == (480, 640, 3)
    exact = (picture == ARM_COLOURS[0]).all(-1)
    assert np.abs(middle(exact) - 10 * (HEAD @ TOOL).numpy()[:2]).max() < 1.5

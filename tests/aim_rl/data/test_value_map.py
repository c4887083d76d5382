"""Value maps: where the peak lies, when it is there, and what it never does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aim_rl.data.episode import Contacts, Episode
from aim_rl.data.value_map import canvas_maps, render_value_maps
from envs.constants import PLACE

MakeContacts = Callable[[int], Contacts]

# The head camera of RoboTwin at 128 x 96 px: at (-0.032, -0.45, 1.35), right = +x, forward = (0, 0.6, -0.8).
FOCAL = 48 / np.tan(np.deg2rad(18.5))
K = np.array([[FOCAL, 0, 64], [0, FOCAL, 48], [0, 0, 1]])
ROTATION = np.array([[1, 0, 0], [0, -0.8, -0.6], [0, 0.6, -0.8]])
HEAD = np.column_stack([ROTATION, -ROTATION @ [-0.032, -0.45, 1.35]])


def project(point: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Pixel (u, v) of a world point in the head camera, by hand."""
    u, v, depth = K @ (HEAD[:, :3] @ point + HEAD[:, 3])
    return np.array([u, v]) / depth * scale


def peak(image: np.ndarray) -> np.ndarray:
    """(u, v) of the centre of the brightest pixel."""
    row, column = np.unravel_index(image.argmax(), image.shape)
    return np.array([column + 0.5, row + 0.5])


@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_peak_lies_on_the_projected_point_at_any_resolution(scale: float, make_contacts: MakeContacts) -> None:
    size = (int(96 * scale), int(128 * scale))
    maps = render_value_maps(make_contacts(24), np.array([0, 12, 16]), K, HEAD, (96, 128), size)
    assert maps.shape == (3, 3, *size) and maps.dtype == np.float32 and 0 <= maps.min() <= maps.max() <= 1
    # By hand: the block has drifted 2 mm per frame; the support stands; a quarter turn takes +x to +y.
    points = {0: [-0.15, 0.0, 0.78], 1: [0.0, 0.1, 0.74], 2: [0.2, 0.07, 0.76]}
    for frame, arm in ((0, 0), (1, 0), (2, 1)):
        error = peak(maps[frame, arm]) - project(np.array(points[frame]), scale)
        assert np.abs(error).max() <= 0.5 + 1e-3
        assert maps[frame, arm].max() > 0.8
        np.testing.assert_array_equal(maps[frame, 2], maps[frame, arm])
        assert maps[frame, 1 - arm].max() == 0


def test_pick_point_moves_with_the_object_before_the_event(make_contacts: MakeContacts) -> None:
    maps = render_value_maps(make_contacts(24), np.array([0, 8]), K, HEAD, (96, 128), (480, 640))
    moved = project(np.array([-0.134, 0, 0.78]), 5) - project(np.array([-0.15, 0, 0.78]), 5)
    assert moved[0] > 5
    np.testing.assert_allclose(peak(maps[1, 0]) - peak(maps[0, 0]), moved, atol=1.01)


def test_a_frame_carries_the_next_event_and_the_end_is_empty(make_contacts: MakeContacts) -> None:
    maps = render_value_maps(make_contacts(24), np.arange(24), K, HEAD, (96, 128), (48, 64))
    lit = maps.max(axis=(2, 3)) > 0.5
    np.testing.assert_array_equal(lit[:, 0], np.arange(24) <= 14)  # pick at 8, place at 14
    np.testing.assert_array_equal(lit[:, 1], (np.arange(24) > 14) & (np.arange(24) <= 20))
    assert maps[21:].max() == 0
    pick, place = project(np.array([-0.134, 0, 0.78]), 0.5), project(np.array([0, 0.1, 0.74]), 0.5)
    assert np.abs(peak(maps[8, 0]) - pick).max() <= 0.51  # the event's own frame still shows it
    assert np.abs(peak(maps[9, 0]) - place).max() <= 0.51


def test_points_of_one_event_are_joined_by_the_maximum(make_contacts: MakeContacts) -> None:
    contacts = make_contacts(24)
    contacts.time[:] = 8
    maps = render_value_maps(contacts, np.array([0]), K, HEAD, (96, 128), (96, 128))[0]
    alone = []
    for keep in range(3):
        single = Contacts(**{n: v if n == "body_poses" else v[keep : keep + 1] for n, v in vars(contacts).items()})
        alone.append(render_value_maps(single, np.array([0]), K, HEAD, (96, 128), (96, 128))[0, 2])
    np.testing.assert_allclose(maps[0], np.maximum(alone[0], alone[1]))
    np.testing.assert_allclose(maps[1], alone[2])
    np.testing.assert_allclose(maps[2], np.max(alone, axis=0))


def test_width_follows_focal_length_over_depth(make_contacts: MakeContacts) -> None:
    maps = render_value_maps(make_contacts(24), np.array([0]), K, HEAD, (96, 128), (960, 1280))
    depth = HEAD[2, :3] @ [-0.15, 0, 0.78] + HEAD[2, 3]
    # A Gaussian sums to 2 pi sigma^2.
    assert np.sqrt(maps[0, 0].sum() / (2 * np.pi)) == pytest.approx(10 * K[1, 1] * 0.03 / depth, rel=0.01)


def test_points_behind_the_camera_are_skipped(make_contacts: MakeContacts) -> None:
    rng = np.random.default_rng(0)
    contacts = make_contacts(24)
    for _ in range(20):
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        eye = np.array([0.0, 0.0, 0.76]) + 0.8 * axes[2]  # looks along axes[2], away from every point
        extrinsic = np.concatenate([axes, -axes @ eye[:, None]], axis=1)
        assert render_value_maps(contacts, np.arange(24), K, extrinsic, (96, 128), (48, 64)).max() == 0


def test_canvas_tiles_do_not_bleed(make_episode: Callable[..., Episode]) -> None:
    episode = make_episode()
    # Only the head camera sees the block, at the very bottom of its tile; the wrists look away.
    for camera in ("left_camera", "right_camera"):
        getattr(episode, f"{camera}_extrinsic")[:, 2] *= -1
    contacts = episode.contacts
    ray = np.linalg.inv(K) @ [40.0, 95.0, 1.0]  # a point 0.8 m away, on the last row of the image
    contacts.point[0] = HEAD[:, :3].T @ (0.8 * ray - HEAD[:, 3]) - contacts.body_poses[0, 0, :3]
    maps = canvas_maps(episode, np.array([0]))
    assert maps.shape == (1, 3, 80, 64)
    assert maps[0, 0, 47].max() > 0.8
    assert maps[0, :, 48:].max() == 0


def test_canvas_puts_left_and_right_wrist_below_the_head(make_episode: Callable[..., Episode]) -> None:
    episode = make_episode()
    # The left wrist looks straight at the pick point, the others away.
    for camera in ("head_camera", "right_camera"):
        getattr(episode, f"{camera}_extrinsic")[:, 2] *= -1
    point = np.array([-0.15, 0.0, 0.78])
    episode.left_camera_extrinsic[:, :, 3] = [0, 0, 0.3] - HEAD[:, :3] @ point
    maps = canvas_maps(episode, np.array([0]))[0, 0]
    assert np.abs(peak(maps) - [16, 64]).max() <= 0.5
    assert maps[:48].max() == 0 and maps[48:, 32:].max() == 0


def placement(points: np.ndarray) -> Contacts:
    """One placement of the left arm at `points` [n, 3] (m) on a support that stays at the origin, at frame 8 of 24."""
    n, poses = len(points), np.zeros((1, 24, 7), np.float32)
    poses[..., 3] = 1
    zeros = np.zeros(n, np.int32)
    kind, arm = np.full(n, PLACE, np.uint8), np.zeros(n, np.uint8)
    return Contacts(points.astype(np.float32), np.full(n, 8, np.int32), kind, arm, zeros, zeros, poses)


def test_a_placement_is_brightest_in_the_middle_of_its_region() -> None:
    """Four corners of a block: the tool belongs between them, where separate dots would leave a hollow."""
    middle, half = np.array([0.0, -0.13, 0.79]), 0.025
    corners = middle + np.array([[half, half, 0], [-half, half, 0], [half, -half, 0], [-half, -half, 0]])
    image = render_value_maps(placement(corners), np.array([0]), K, HEAD, (96, 128), (480, 640))[0, 0]
    assert np.abs(peak(image) - project(middle, 5)).max() <= 1
    assert image.max() == pytest.approx(1, abs=1e-3)
    for corner in corners:
        column, row = project(corner, 5).astype(int)
        assert 0.3 < image[row, column] < 0.8


def test_points_inside_the_hull_do_not_move_a_placement() -> None:
    corners = np.array([[x, y, 0.74] for x in (-0.05, 0.05) for y in (-0.15, -0.1)])
    inside = np.array([[0.045, -0.14, 0.74], [0.04, -0.145, 0.74]])
    alone, both = (
        render_value_maps(placement(points), np.array([0]), K, HEAD, (96, 128), (96, 128))
        for points in (corners, np.concatenate([corners, inside]))
    )
    np.testing.assert_allclose(both, alone, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_placement_on_a_point_or_a_line_has_its_peak_in_the_middle(count: int) -> None:
    points = np.array([[0.0, -0.1, 0.74], [0.04, -0.1, 0.74], [0.08, -0.1, 0.74]])[:count]
    image = render_value_maps(placement(points), np.array([0]), K, HEAD, (96, 128), (480, 640))[0, 0]
    assert np.abs(peak(image) - project(points.mean(0), 5)).max() <= 1


def test_a_region_beside_the_picture_leaves_only_its_edge_in_it() -> None:
    """Not stretched to 1 because its middle is out of sight."""
    corners = np.array([[x, -0.1, z] for x in (-0.9, -0.8) for z in (0.74, 0.8)])
    assert render_value_maps(placement(corners), np.array([0]), K, HEAD, (96, 128), (96, 128)).max() < 0.01

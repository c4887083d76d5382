"""Projection, map response and composition against numbers worked out by hand."""

import pytest
import torch

from rewards import (
    RewardConfig,
    chunk_reward,
    chunk_sum,
    map_response,
    project,
    rescale_intrinsic,
    settled_response,
    tcp_response,
)
from rewards.response import frame_of_step

SIZE = (48, 64)
K = torch.tensor([[80.0, 0, 32], [0, 80, 24], [0, 0, 1]])
# Camera at (0, 0, 1.5), looking straight down, image right = world x, image up = world y.
DOWN = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1.5]])


@pytest.mark.parametrize(
    ("point", "pixel", "depth", "visible"),
    [
        ((0.0, 0.0, 0.5), (32.0, 24.0), 1.0, True),  # the optical axis meets the middle: cx = W/2
        ((0.1, 0.05, 0.5), (40.0, 20.0), 1.0, True),  # right and up: 80 * 0.1, 80 * 0.05
        ((0.1, 0.05, 1.0), (48.0, 16.0), 0.5, True),  # half the depth, twice the offset
        ((-0.4, 0.3, 0.5), (0.0, 0.0), 1.0, True),  # the frame's first corner belongs to it,
        ((0.4, 0.0, 0.5), (64.0, 24.0), 1.0, False),  # its far edge does not
        ((0.0, -0.31, 0.5), (32.0, 48.8), 1.0, False),
    ],
)
def test_projection_by_hand(point, pixel, depth, visible):
    pixels, z, seen = project(torch.tensor(point), K, DOWN, SIZE)
    torch.testing.assert_close(pixels, torch.tensor(pixel), atol=2e-5, rtol=0)
    assert z.item() == pytest.approx(depth)
    assert bool(seen) is visible


def test_point_behind_the_camera_is_not_visible_and_harmless():
    behind = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 1.5]], requires_grad=True)
    pixels, depth, visible = project(behind, K, DOWN, SIZE)
    assert depth.tolist() == [-0.5, 0.0] and not visible.any()
    pixels.sum().backward()
    assert behind.grad is not None and behind.grad.isfinite().all()


def test_projection_batches_cameras_and_points():
    moved = DOWN.clone()
    moved[0, 3] = 0.1
    points = torch.tensor([[[0.0, 0.0, 0.5], [0.1, 0.0, 0.5]]] * 2)
    pixels, _, _ = project(points, K.expand(2, 1, 3, 3), torch.stack([DOWN, moved])[:, None], SIZE)
    torch.testing.assert_close(pixels[..., 0], torch.tensor([[32.0, 40.0], [40.0, 48.0]]))


def test_rescaled_camera_sees_the_same_place():
    point = torch.tensor([0.1, 0.05, 0.5])
    small, _, _ = project(point, rescale_intrinsic(K, SIZE, (24, 16)), DOWN, (24, 16))
    torch.testing.assert_close(small, torch.tensor([10.0, 10.0]))  # (40, 20) times (1/4, 1/2)


def test_bilinear_response_at_and_between_pixel_centres():
    value_map = torch.tensor([[0.0, 1.0], [0.4, 0.6]])
    pixels = torch.tensor([[0.5, 0.5], [1.5, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 2.0], [1.0, 1.0]])
    visible = torch.tensor([True] * 5 + [False])
    response = map_response(value_map, pixels, visible)
    torch.testing.assert_close(response, torch.tensor([0.0, 1.0, 0.5, 0.5, 0.4, 0.0]))


def blob(u: float, v: float, size=(24, 32), sigma=2.0) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    return torch.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))


LEFT, RIGHT = (-0.2, 0.05, 0.5), (0.1, 0.05, 0.5)  # pixels (16, 20), (40, 20); in the map (8, 10), (20, 10)
AWAY = (9.0, 9.0, 0.5)


def respond(maps: torch.Tensor, commanded_tcp: list) -> list[float]:
    points = torch.tensor(commanded_tcp)[None]
    return tcp_response(maps[None], points, K[None], DOWN[None], SIZE)[0].tolist()


def test_response_peaks_where_the_blob_is():
    maps = torch.stack([blob(7.5, 9.5), blob(20.5, 10.5), torch.zeros(24, 32)])[None]
    offsets = torch.linspace(-0.1, 0.1, 81)
    points = torch.tensor(RIGHT) + torch.stack([offsets, 0 * offsets, 0 * offsets], -1)
    commanded_tcp = torch.stack([torch.tensor(AWAY).expand(81, 3), points], 1)[None]
    response = tcp_response(maps[None], commanded_tcp, K[None], DOWN[None], SIZE)[0]
    # The blob centre (20.5, .) of the map is u = 41 in the image: 1 px or 0.0125 m right of RIGHT.
    assert offsets[response.argmax()].item() == pytest.approx(0.0125, abs=1e-6)
    assert response.max() > 0.9


def test_landing_on_the_other_arms_target_earns_nothing():
    empty = torch.zeros(24, 32)
    maps = torch.stack([blob(8, 10), empty, torch.maximum(blob(8, 10), blob(20, 10))])[None]
    commanded_tcp = [[LEFT, AWAY], [AWAY, LEFT], [LEFT, LEFT], [AWAY, AWAY], [RIGHT, RIGHT]]
    response = respond(maps, commanded_tcp)
    assert response[0] > 0.9 and response[2] == response[0]
    assert response[1] == 0 and response[3] == 0
    assert response[4] < 1e-6  # channel 2, the union, is not read


def test_better_arm_counts_and_values_are_clamped():
    maps = torch.stack([blob(8, 10) * 3, blob(20, 10) * 0.5 - 0.2, torch.zeros(24, 32)])[None]
    both, right, far = respond(maps, [[LEFT, RIGHT], [AWAY, RIGHT], [(0.3, -0.2, 0.5)] * 2])
    assert both == 1.0 and 0.2 < right < 0.3 and far < 1e-6


@pytest.mark.parametrize(
    ("steps", "frames", "expected"),
    [
        (16, 2, [0] * 8 + [1] * 8),
        (4, 2, [0, 0, 1, 1]),
        (1, 2, [1]),
        (1, 1, [0]),
        (5, 2, [0, 0, 1, 1, 1]),
        (2, 4, [1, 3]),
    ],
)
def test_each_step_is_judged_by_the_first_frame_at_or_after_it(steps, frames, expected):
    assert frame_of_step(steps, frames).tolist() == expected
    maps = torch.arange(1, frames + 1)[:, None, None, None].expand(frames, 3, 24, 32) / 10
    expected_values = [(frame + 1) / 10 for frame in expected]
    assert respond(maps, [[LEFT, AWAY]] * steps) == pytest.approx(expected_values)


def settle(before: torch.Tensor, after: torch.Tensor, commanded_tcp: list) -> list[float]:
    points = torch.tensor(commanded_tcp)[None]
    return settled_response(before[None], after[None], points, K[None], DOWN[None], SIZE)[0].tolist()


def test_what_the_map_lets_go_of_is_settled() -> None:
    """A grasp moves the map on, a drop moves it back; hovering over the target, or closing beside it, does neither."""
    empty = torch.zeros(24, 32)
    here, there = torch.stack([blob(8, 10), empty, blob(8, 10)]), torch.stack([blob(20, 10), empty, blob(20, 10)])
    grasped, where_it_goes, other_arm = settle(here, there, [[LEFT, AWAY], [RIGHT, AWAY], [AWAY, LEFT]])
    assert grasped > 0.9 and where_it_goes < -0.9 and other_arm == 0
    assert settle(there, here, [[LEFT, AWAY]])[0] == -grasped  # dropped where it was grasped: nothing is gained
    assert settle(here, here, [[LEFT, AWAY]]) == [0.0]
    # Half let go pays half: 0.88.. at the point before, half of it after.
    whole, half = settle(here, 0 * here, [[LEFT, AWAY]]), settle(here, here / 2, [[LEFT, AWAY]])
    assert half[0] == pytest.approx(whole[0] / 2)
    # An arm is paid for its own map alone: the other arm's peak does not hide the fall.
    busy = torch.stack([empty, blob(20, 10), blob(20, 10)])
    assert settle(here + busy, busy, [[LEFT, RIGHT]]) == pytest.approx(whole)


def test_response_carries_no_gradient():
    maps = torch.rand(1, 2, 3, 24, 32, requires_grad=True)
    commanded_tcp = torch.tensor([[[LEFT, RIGHT]] * 4], requires_grad=True)
    assert not tcp_response(maps, commanded_tcp, K[None], DOWN[None], SIZE).requires_grad


def test_wrong_shapes_are_refused():
    maps, commanded_tcp = torch.rand(2, 2, 3, 24, 32), torch.zeros(2, 4, 2, 3)
    cameras = K.expand(2, 3, 3), DOWN.expand(2, 3, 4)
    with pytest.raises(ValueError, match="maps must"):
        tcp_response(maps[:, :, :2], commanded_tcp, *cameras, SIZE)
    with pytest.raises(ValueError, match="commanded_tcp must"):
        tcp_response(maps, commanded_tcp[:, :, 0], *cameras, SIZE)
    with pytest.raises(ValueError, match="one shape"):
        chunk_reward(torch.ones(2, 4), torch.ones(2, 1), torch.ones(2, 4), RewardConfig(1.0, 1.0))


def test_composition_stops_after_the_end():
    dense = torch.tensor([[0.5, 0.25, 1.0, 1.0]])
    success = torch.tensor([[False, True, True, False]])
    executed = torch.tensor([[True, True, False, False]])
    reward = chunk_reward(dense, success, executed, RewardConfig(lambda_dense=0.2, lambda_sparse=3.0))
    torch.testing.assert_close(reward, torch.tensor([[0.1, 3.05, 0.0, 0.0]]))
    torch.testing.assert_close(chunk_sum(reward), torch.tensor([[3.15]]))

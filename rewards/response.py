"""The response of a value map at projected points: M(Π(p)) of the dense reward (docs/method.md)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import grid_sample

from rewards.projection import project, rescale_intrinsic


def map_response(value_map: Tensor, pixels: Tensor, visible: Tensor) -> Tensor:
    """Samples maps bilinearly between pixel centres. Differentiable in map and pixels.

    Outside the outermost pixel centres the border value counts; points that are not visible read zero.

    Args:
        value_map: [..., H, W]; frames and channels are leading dimensions.
        pixels: [..., N, 2], (u, v) in pixels of the map, centres at integers + 0.5.
        visible: [..., N], bool.

    Returns:
        [..., N], in the map's dtype.
    """
    height, width = value_map.shape[-2:]
    size = pixels.new_tensor([width, height])
    # With align_corners=False, -1 and 1 are the outer edges of the border pixels.
    grid = (2 * pixels / size - 1).to(value_map.dtype)
    sampled = grid_sample(
        value_map.reshape(-1, 1, height, width),
        grid.reshape(-1, 1, pixels.shape[-2], 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return torch.where(visible, sampled.reshape(visible.shape), torch.zeros_like(sampled[0, 0, 0, 0]))


def frame_of_step(steps: int, frames: int) -> Tensor:
    """Index [steps] of the frame that each control step of a chunk reads: the first frame at or after the step.

    Frame k shows the moment (k + 1) * steps / frames. It covers the control steps, counted from 1, in
    (k * steps / frames, (k + 1) * steps / frames], as in the labels, where a frame shows the next event.
    """
    return (torch.arange(1, steps + 1) * frames - 1) // steps


@torch.no_grad()
def tcp_response(
    maps: Tensor, commanded_tcp: Tensor, intrinsic: Tensor, extrinsic: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Response M_t(Π(p_k)) per control step, in [0, 1], without gradient: the paper's dense reward.

    Each arm reads its own channel (0 left, 1 right; channel 2 is ignored) at its commanded TCP position, and the larger
    response counts. So an arm earns nothing at the other arm's target. Only the head camera is read: it is fixed, so
    its pose now is its pose at the predicted frames. The wrist cameras move with the action that is scored.

    Args:
        maps: [..., F, 3, H, W], head camera's part of the predicted maps; frames are evenly spaced over the chunk
            (`frame_of_step`).
        commanded_tcp: [..., h, 2, 3], commanded TCP position of each arm (left, right) after each control step of the
            chunk that the maps span, m, world frame.
        intrinsic: [..., 3, 3], px, of the head image as delivered.
        extrinsic: [..., 3, 4], world to head camera, m.
        image_size: (H, W) of the head image as delivered, px; the map may have another size.

    Returns:
        [..., h], in the dtype of maps.

    Raises:
        ValueError: maps or commanded_tcp have another shape.
    """
    frames, steps = maps.shape[-4], commanded_tcp.shape[-3]
    best_arm = _response_by_arm(maps, commanded_tcp, intrinsic, extrinsic, image_size).amax(-2)
    frame = frame_of_step(steps, frames).to(maps.device)
    return best_arm[..., frame, torch.arange(steps, device=maps.device)]


@torch.no_grad()
def settled_response(
    before: Tensor,
    after: Tensor,
    commanded_tcp: Tensor,
    intrinsic: Tensor,
    extrinsic: Tensor,
    image_size: tuple[int, int],
) -> Tensor:
    """Drop of the map at the commanded TCP position: M_before(Π(p)) - M_after(Π(p)), in [-1, 1].

    A map shows the next event. A peak at the tool that disappears means a contact that is done: a block grasped, or
    released where it belongs. A peak that appears means a contact that was undone: a dropped block must be grasped
    again. Hovering at a peak, or closing the gripper beside the block, leaves the map as it is and earns nothing.

    Args:
        before: [..., 3, H, W], map of the start of the chunk, predicted by the previous decision.
        after: [..., 3, H, W], first map predicted from the observation after the chunk; it shows a moment of the next
            decision.
        commanded_tcp, intrinsic, extrinsic, image_size: as in `tcp_response`.

    Returns:
        [..., h], in the dtype of the maps, for the arm with the larger change.
    """
    maps = torch.stack([before, after], -4)
    then, now = _response_by_arm(maps, commanded_tcp, intrinsic, extrinsic, image_size).unbind(-3)
    change = then - now
    return change.gather(-2, change.abs().argmax(-2, keepdim=True)).squeeze(-2)


class MapResponses(NamedTuple):
    """Readings of the value maps at a chunk's commanded TCP positions; leading axes are decisions."""

    response: Tensor
    """[..., h], M_t(Π(p)) of each control step."""
    settled: Tensor
    """[..., h], `settled_response` on the control step where it is farthest from 0, else 0; 0 for a last decision."""
    arrived: Tensor
    """[...], response of the next decision's map at the last executed control step; 0 for a last decision."""
    event: Tensor
    """i64 [...], number of the event that the map shows, from 0 (`rewards.maps.events`)."""


def map_responses(
    maps: Tensor,
    before: Tensor,
    after: Tensor,
    event: Tensor,
    commanded_tcp: Tensor,
    executed: Tensor,
    followed: Tensor,
    camera: tuple[Tensor, Tensor, tuple[int, int]],
) -> MapResponses:
    """Reads the maps of each decision, of the previous and of the next one at the chunk's commanded TCP positions.

    Args:
        maps, commanded_tcp: as in `tcp_response`; n >= h control steps.
        before: [..., 3, H, W], map of the start of the chunk, predicted by the previous decision.
        after: [..., 3, H, W], first map of the next decision.
        event: i64 [...], as in `MapResponses`.
        executed: bool [..., h], true for the first control steps of a chunk.
        followed: bool [...], whether a next decision exists; where not, `after` is ignored.
        camera: intrinsic, extrinsic and image size, as in `tcp_response`.
    """
    h = executed.shape[-1]
    response = tcp_response(maps, commanded_tcp, *camera)[..., :h] * executed
    commanded_tcp = commanded_tcp[..., :h, :, :]
    change = settled_response(before, after, commanded_tcp, *camera) * executed
    settled = change * F.one_hot(change.abs().argmax(-1), h) * followed[..., None]
    last = (executed.sum(-1) - 1).clamp_min(0)[..., None, None, None].expand(*commanded_tcp.shape[:-3], 1, 2, 3)
    arrived = tcp_response(after.unsqueeze(-4), commanded_tcp.gather(-3, last), *camera)[..., 0] * followed
    return MapResponses(response, settled, arrived, event)


def frame_after(executed: int, horizon: int, frames: int) -> int:
    """Index of the frame, of `frames` over `horizon` control steps, that shows the moment after `executed` steps."""
    return int(frame_of_step(horizon, frames)[executed - 1])


def _response_by_arm(
    maps: Tensor, commanded_tcp: Tensor, intrinsic: Tensor, extrinsic: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Response [..., F, 2, h] of every frame, arm and control step; arguments as in `tcp_response`."""
    if maps.ndim < 4 or maps.shape[-3] != 3:
        raise ValueError(f"maps must have shape [..., F, 3, H, W], not {list(maps.shape)}")
    if commanded_tcp.shape[-2:] != (2, 3) or commanded_tcp.shape[:-3] != maps.shape[:-4]:
        raise ValueError(
            f"commanded_tcp must have shape {[*maps.shape[:-4], 'h', 2, 3]} to match the maps, "
            f"not {list(commanded_tcp.shape)}"
        )
    frames, _, *map_size = maps.shape[-4:]
    steps = commanded_tcp.shape[-3]
    # In double: single precision moves a point by 1e-5 px, which is visible in the sum over a chunk.
    camera = rescale_intrinsic(intrinsic.double(), image_size, (map_size[0], map_size[1]))
    pixels, _, visible = project(
        commanded_tcp.double(),
        camera[..., None, None, :, :],
        extrinsic.double()[..., None, None, :, :],
        (map_size[0], map_size[1]),
    )
    # [..., h, 2, 2] -> [..., F, arm, h, 2]
    pixels = pixels.transpose(-3, -2).unsqueeze(-4).expand(*maps.shape[:-4], frames, 2, steps, 2)
    visible = visible.transpose(-2, -1).unsqueeze(-3).expand(*maps.shape[:-4], frames, 2, steps)
    return map_response(maps[..., :2, :, :], pixels, visible).clamp(0, 1)

"""The response of a value map at projected points: M(Π(p)) of AIM's dense reward."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import grid_sample

from rewards.projection import project, rescale_intrinsic


def map_response(value_map: Tensor, pixels: Tensor, visible: Tensor) -> Tensor:
    """Samples maps bilinearly between pixel centres. Differentiable in map and pixels.

    Outside the outermost pixel centres the border value holds; points not visible read zero.

    Args:
        value_map: [..., H, W]; time and channels, where there are any, are leading dimensions.
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
    """Index [steps] of the frame that judges each control step of a chunk.

    Frame k shows the moment (k + 1) * steps / frames and covers the control steps, counted from 1,
    in (k * steps / frames, (k + 1) * steps / frames]: the first frame at or after the step, as in
    the labels, where a frame carries the next event.
    """
    return (torch.arange(1, steps + 1) * frames - 1) // steps


@torch.no_grad()
def tcp_response(
    maps: Tensor, commanded_tcp: Tensor, intrinsic: Tensor, extrinsic: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Dense reward M_t(Π(p_t)) of AIM per control step, in [0, 1], without gradient.

    Per arm the map channel of that arm (0 left, 1 right; channel 2 is not read) is sampled at that
    arm's commanded TCP position, and the larger of the two responses counts: an arm earns nothing on the
    other arm's target. Only the head camera is read: it stands still, so its pose now is its pose
    at the predicted frames, while the wrist cameras move with the action being scored.

    Args:
        maps: [..., F, 3, H, W], head camera's part of the predicted maps, frames evenly spaced
            over the chunk (`frame_of_step`).
        commanded_tcp: [..., h, 2, 3], tool-centre points of the *commanded* action after each control
            step of the chunk the maps span, (left, right), m, world frame.
        intrinsic: [..., 3, 3], px, of the head image as delivered.
        extrinsic: [..., 3, 4], world to head camera, m.
        image_size: (H, W) of the head image as delivered, px; the map may have another size.

    Returns:
        [..., h], in the dtype of maps.

    Raises:
        ValueError: if maps or commanded_tcp have another shape.
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
    """What the map said of a commanded TCP position and no longer says: M_before(Π(p)) - M_after(Π(p)), in [-1, 1].

    A map carries the next event. So a point that it names before the chunk and leaves once it has seen how the chunk
    ended is an interaction done: a block grasped, or let go where it belongs. A point that it names only afterwards is
    one undone: a block dropped there has to be grasped again. Hovering at a peak that stays, and closing the gripper
    beside the block, leave the map where it is and earn nothing.

    Args:
        before: [..., 3, H, W], the map of the moment the chunk starts, predicted a decision earlier.
        after: [..., 3, H, W], the first map predicted from the observation that the chunk led to; it shows a moment of
            the decision that follows.
        commanded_tcp, intrinsic, extrinsic, image_size: as in `tcp_response`.

    Returns:
        [..., h], in the dtype of the maps; of the arm with the larger change.
    """
    maps = torch.stack([before, after], -4)
    then, now = _response_by_arm(maps, commanded_tcp, intrinsic, extrinsic, image_size).unbind(-3)
    change = then - now
    return change.gather(-2, change.abs().argmax(-2, keepdim=True)).squeeze(-2)


class MapResponses(NamedTuple):
    """What value maps say of a chunk's commanded action; leading axes are decisions."""

    response: Tensor
    """[..., h], M_t(Π(p)) of each control step."""
    settled: Tensor
    """[..., h], `settled_response` on the control step where it is farthest from 0, else 0; 0 where no map follows."""
    arrived: Tensor
    """[...], the following map's response where the last executed control step landed; 0 where no map follows."""
    event: Tensor
    """i64 [...], number of the event that the map announces, from 0 (`rewards.maps.events`)."""


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
    """Judges chunks by the maps of their own decision, of the one before and of the one that follows.

    Args:
        maps, commanded_tcp: as in `tcp_response`; n >= h control steps.
        before: [..., 3, H, W], the map of the moment the chunk starts, predicted a decision earlier.
        after: [..., 3, H, W], the first map that the following decision predicted.
        event: i64 [...].
        executed: bool [..., h], a prefix of every chunk.
        followed: bool [...], whether a decision follows; where not, `after` may be anything.
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
    """Which of the `frames` over a chunk of `horizon` control steps shows the moment after `executed` of them."""
    return int(frame_of_step(horizon, frames)[executed - 1])


def _response_by_arm(
    maps: Tensor, commanded_tcp: Tensor, intrinsic: Tensor, extrinsic: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Response [..., F, 2, h] of every frame to each arm at every control step; arguments of `tcp_response`."""
    if maps.ndim < 4 or maps.shape[-3] != 3:
        raise ValueError(f"maps must have shape [..., F, 3, H, W], not {list(maps.shape)}")
    if commanded_tcp.shape[-2:] != (2, 3) or commanded_tcp.shape[:-3] != maps.shape[:-4]:
        raise ValueError(
            f"commanded_tcp must have shape {[*maps.shape[:-4], 'h', 2, 3]} to match the maps, "
            f"not {list(commanded_tcp.shape)}"
        )
    frames, _, *map_size = maps.shape[-4:]
    steps = commanded_tcp.shape[-3]
    # In double: single precision moves a point by 1e-5 px, which shows in the sum over a chunk.
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

"""Projects world points through a pinhole camera (OpenCV axes: x right, y down, z forward)."""

import torch
from torch import Tensor


def project(
    points: Tensor, intrinsic: Tensor, extrinsic: Tensor, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Projects world points into a camera: z (u, v, 1) = K (R p + t). Differentiable.

    Leading dimensions broadcast, so one camera per batch element and N points each is
    `project(points[B, N, 3], K[:, None], E[:, None], size)`.

    Args:
        points: [..., 3], m, world frame.
        intrinsic: K [..., 3, 3], px, of an image of size `image_size`.
        extrinsic: [..., 3, 4], [R | t], world to camera, m.
        image_size: (H, W), px.

    Returns:
        pixels [..., 2]: (u right, v down), px; pixel (i, j) covers [i, i+1) x [j, j+1), so its
            centre is (i + 0.5, j + 0.5). Finite but meaningless for points behind the camera.
        depth [...]: z in the camera frame, m.
        visible [...], bool: in front of the camera and inside the frame. Occlusion is not considered.
    """
    camera = (extrinsic[..., :3] @ points[..., None])[..., 0] + extrinsic[..., 3]
    depth = camera[..., 2]
    in_front = depth > 0
    # Divide by 1 where z <= 0, so that values and gradients stay finite.
    divisor = torch.where(in_front, depth, torch.ones_like(depth))
    pixels = (intrinsic @ camera[..., None])[..., :2, 0] / divisor[..., None]
    height, width = image_size
    u, v = pixels.unbind(-1)
    visible = in_front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return pixels, depth, visible


def rescale_intrinsic(intrinsic: Tensor, image_size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """K [..., 3, 3] of the same view at another image size; both sizes (H, W), px.

    Coordinates start at the edge of pixel (0, 0), so cx and cy scale like the focal lengths.
    """
    scale = intrinsic.new_tensor([new_size[1] / image_size[1], new_size[0] / image_size[0], 1.0])
    return intrinsic * scale[:, None]

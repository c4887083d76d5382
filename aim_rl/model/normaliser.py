"""Affine normalisation of what the action head reads and writes, and the proprioceptive vector."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

PROPRIO_DIM = 46


class Normaliser(nn.Module):
    """Affine map to zero mean and unit variance per dimension, stored with the model."""

    mean: Tensor
    std: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def fit(self, values: Tensor, floor: Tensor | float) -> None:
        """Takes mean and std over the first axis of `values`; std is at least `floor`."""
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp_min(torch.as_tensor(floor, device=values.device)))

    def normalise(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std

    def denormalise(self, values: Tensor) -> Tensor:
        return values * self.std + self.mean


def waypoint_floor() -> Tensor:
    """Smallest std [14] of the waypoint normaliser: 5 mm, 0.02 rad, 0.1 gripper, per arm."""
    return torch.tensor(([0.005] * 3 + [0.02] * 3 + [0.1]) * 2)


def proprio(obs: Mapping[str, Tensor]) -> Tensor:
    """Observation -> [B, 46]: both endposes (xyz m, two columns of the rotation), qpos, tracking error."""

    def pose(endpose: Tensor) -> Tensor:
        xyz, (w, x, y, z) = endpose[..., :3], endpose[..., 3:].unbind(-1)
        columns = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
        columns += [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
        return torch.cat([xyz, torch.stack(columns, -1)], -1)

    qpos = obs["qpos"]
    poses = [pose(obs["left_endpose"]), pose(obs["right_endpose"])]
    return torch.cat([*poses, qpos, obs["qpos_measured"] - qpos], -1)

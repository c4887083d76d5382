"""Affine normalisation of the action head's inputs and outputs, and the proprioception vector."""

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
        """Sets mean and std to those of `values` [n, *shape] over the first axis; std is at least `floor`."""
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp_min(torch.as_tensor(floor, device=values.device)))

    def normalise(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std

    def denormalise(self, values: Tensor) -> Tensor:
        return values * self.std + self.mean


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

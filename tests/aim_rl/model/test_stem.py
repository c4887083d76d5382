"""The observation stem finds objects."""

from __future__ import annotations

import torch
from torch import Tensor

from aim_rl.model.presets import SMALL
from aim_rl.model.stem import ObservationStem


def pictures(column: int) -> tuple[Tensor, Tensor, Tensor]:
    """A white table with a green block of 14 px at `column`, and two empty wrist pictures."""
    head = torch.full((1, *SMALL.head_size, 3), 230, dtype=torch.uint8)
    head[:, 40:54, column : column + 14] = torch.tensor([20, 200, 30], dtype=torch.uint8)
    wrist = torch.full((1, *SMALL.wrist_size, 3), 230, dtype=torch.uint8)
    return head, wrist, wrist


def test_untrained_keypoints_already_follow_a_block() -> None:
    """Where they do not, Stage I learns late where a block is."""
    torch.manual_seed(0)
    stem = ObservationStem(SMALL)
    with torch.no_grad():
        before, after = (stem(*pictures(column))[1][0].unflatten(0, (3, -1, 3)) for column in (20, 90))
    moved = (after - before)[..., 0].abs()
    block = 2 * (90 - 20) / SMALL.head_size[1]
    assert moved[0].max() > 0.05 * block
    assert torch.all(moved[1:] == 0)  # the wrist cameras have seen the same picture

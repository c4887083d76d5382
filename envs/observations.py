"""What both backends observe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray


def observation_spaces(cameras: Mapping[str, tuple[int, int]]) -> dict[str, gym.spaces.Box]:
    """Key -> space of the flat observation.

    Per camera `<camera>` u8 [H, W, 3] RGB, `<camera>_intrinsic` f32 [3, 3] px and `<camera>_extrinsic` f32 [3, 4]
    (world to camera, OpenCV); `qpos` and `qpos_measured` f32 [14]; `left_endpose`, `right_endpose` f32 [7].

    Args:
        cameras: name -> image size (H, W) in px.
    """

    def floats(*shape: int) -> gym.spaces.Box:
        return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)

    spaces: dict[str, gym.spaces.Box] = {}
    for camera, size in cameras.items():
        spaces[camera] = gym.spaces.Box(0, 255, (*size, 3), np.uint8)
        spaces[f"{camera}_intrinsic"] = floats(3, 3)
        spaces[f"{camera}_extrinsic"] = floats(3, 4)
    spaces |= {"qpos": floats(14), "qpos_measured": floats(14)}
    return spaces | {f"{arm}_endpose": floats(7) for arm in ("left", "right")}


def finite(observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The observation itself.

    Raises:
        FloatingPointError: a number in it is NaN or infinite.
    """
    for key, value in observation.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise FloatingPointError(f"the simulator observed {key} as NaN or infinity")
    return observation

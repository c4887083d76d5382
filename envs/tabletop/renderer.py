"""SAPIEN's renderer: one Vulkan device per process, which does not survive a fork."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import sapien
from numpy.typing import NDArray

from envs.errors import UserError

# SAPIEN drops its compiled shaders with the last scene that was rendered; without a GPU they take 6 s to compile.
_last_rendered: list[sapien.Scene] = []
_device_owner: list[int] = []  # the process that made SAPIEN's Vulkan device


def new_scene() -> sapien.Scene:
    """An empty scene. The first one of a process makes its Vulkan device.

    Raises:
        UserError: SAPIEN finds no rendering device, or this process was forked from one that has it.
    """
    if _device_owner not in ([], [os.getpid()]):
        raise UserError(
            "this process was forked from one that has built a tabletop scene, whose renderer would hang here; "
            "start environments in processes of the spawn or forkserver context, such as "
            'gymnasium.vector.AsyncVectorEnv(..., context="spawn")'
        )
    try:
        scene = sapien.Scene()
    except RuntimeError as error:
        if "rendering device" not in str(error):
            raise
        raise UserError(
            "SAPIEN finds no Vulkan device to render with; `python -m aim_rl.doctor` says how to fix it"
        ) from error
    _device_owner[:] = [os.getpid()]
    return scene


def take_pictures(
    scene: sapien.Scene, cameras: Mapping[str, sapien.render.RenderCameraComponent]
) -> dict[str, NDArray[np.uint8]]:
    """One RGB picture u8 [H, W, 3] per camera."""
    scene.update_render()
    for camera in cameras.values():
        camera.take_picture()
    _last_rendered[:] = [scene]
    return {name: to_rgb(camera.get_picture("Color")) for name, camera in cameras.items()}


def to_rgb(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    """SAPIEN's float RGBA picture [H, W, 4] as u8 RGB [H, W, 3]."""
    return (np.clip(picture[..., :3], 0, 1) * 255).astype(np.uint8)

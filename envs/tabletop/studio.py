"""How a scene looks in pictures for people: another table and wall, light that casts shadows, a wider picture.

RoboTwin's own look (white table, white wall, no shadows) stays what policies see.
"""

from __future__ import annotations

import numpy as np
import sapien
from numpy.typing import NDArray

SIZE = (480, 640)  # px
FIELD_OF_VIEW = np.deg2rad(60.0)  # vertical; wide enough for the table and both arms
TABLE, WALL = (0.62, 0.60, 0.57), (0.10, 0.13, 0.18)


def intrinsic() -> NDArray[np.float32]:
    """Intrinsics f32 [3, 3] (px) of the picture."""
    height, width = SIZE
    focal = height / 2 / np.tan(FIELD_OF_VIEW / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)


def add_light(scene: sapien.Scene) -> None:
    """A warm light from the front left, which casts shadows, and a weak cold one from the right."""
    scene.set_ambient_light([0.32, 0.33, 0.36])
    scene.add_directional_light(
        [0.3, 0.35, -1.0],
        [1.6, 1.52, 1.4],
        shadow=True,
        position=[0.0, 0.0, 1.0],
        shadow_scale=1.2,  # m, half the side of the square around `position` in which shadows are cast
        shadow_near=-3.0,
        shadow_far=3.0,
    )
    scene.add_directional_light([-0.6, 0.3, -0.6], [0.35, 0.4, 0.5])


def add_camera(scene: sapien.Scene, pose: sapien.Pose) -> sapien.render.RenderCameraComponent:
    """The camera of the picture at `pose`."""
    height, width = SIZE
    camera = scene.add_camera("studio", width, height, FIELD_OF_VIEW, 0.1, 100)
    camera.entity.set_pose(pose)
    return camera

"""What RoboTwin's two dustbin tasks share: the table stands further right, the dustbin on the floor at its left."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.containers import dustbin
from envs.tabletop.scene import TABLE_SIZE, Body, Tabletop

SHIFT = 0.3  # m, RoboTwin's: by which the table stands further right
PLACE = (-0.45, 0.0)  # m, of the dustbin


def load_dustbin(scene: Tabletop) -> Body:
    """Moves the table aside and stands the dustbin beside it."""
    table = scene.bodies["table"].entity
    table.set_pose(sapien.Pose([SHIFT, 0, table.pose.p[2]]))
    made = dustbin(scene, sapien.Pose([*PLACE, 0.0]))
    edge = SHIFT - TABLE_SIZE[0] / 2
    scene.clear_areas.append((-1.0, -1.0, edge + 0.04, 1.0))  # no clutter off the table
    return made


def in_dustbin(bin: Body, body: Body) -> bool:
    """Whether a body's origin is inside the dustbin, between its floor and its edge."""
    x, y, height = bin.points["corner"]
    offset = np.abs(body.position - bin.position)
    return bool(offset[0] < x and offset[1] < y and bin.points["inside"][2] - 0.01 < offset[2] < height - 0.02)

"""What RoboTwin's two dustbin tasks share: the table is shifted to the right, a dustbin is on the floor at its left."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.containers import dustbin
from envs.tabletop.scene import TABLE_SIZE, Body, Tabletop

TABLE_SHIFT = 0.3  # m along x, RoboTwin's
DUSTBIN_XY = (-0.45, 0.0)  # m
EDGE_MARGIN = 0.04  # m from the table's left edge: nearer there is no clutter
FLOOR_MARGIN, EDGE_DEPTH = 0.01, 0.02  # m: an origin inside is above the floor less this, below the edge less this


def load_dustbin(scene: Tabletop) -> Body:
    """Shifts the table and puts the dustbin beside it."""
    table = scene.bodies["table"].entity
    table.set_pose(sapien.Pose([TABLE_SHIFT, 0, table.pose.p[2]]))
    made = dustbin(scene, sapien.Pose([*DUSTBIN_XY, 0.0]))
    edge = TABLE_SHIFT - TABLE_SIZE[0] / 2
    scene.clear_areas.append((-1.0, -1.0, edge + EDGE_MARGIN, 1.0))
    return made


def in_dustbin(bin: Body, body: Body) -> bool:
    """Whether a body's origin is inside the dustbin, between its floor and its edge."""
    x, y, height = bin.points["corner"]
    offset = np.abs(body.position - bin.position)
    low, high = bin.points["inside"][2] - FLOOR_MARGIN, height - EDGE_DEPTH
    return bool(offset[0] < x and offset[1] < y and low < offset[2] < high)

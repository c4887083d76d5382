"""What a run shows of itself: the charts of TensorBoard and of its report, its settings, and animated pictures."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]  # generated
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from aim_rl.runs.environment import environment
from aim_rl.runs.folder import tensorboard
from aim_rl.runs.history import flat
from aim_rl.runs.pictures import Image

FRAME_TIME = 500  # ms per picture of an animation


@dataclass(frozen=True)
class Chart:
    """A chart of scalars; if `band` is set, of one scalar between the lower and the upper limit named there."""

    title: str
    tags: tuple[str, ...]
    band: tuple[str, str] | None = None


def _success(title: str, tag: str) -> Chart:
    return Chart(title, (tag,), (f"{tag}_ci_low", f"{tag}_ci_high"))


STAGE1 = (
    Chart("losses", ("stage1/loss", "stage1/rgb", "stage1/map", "stage1/action")),
    Chart("held-out losses", tuple(f"stage1/held_out/{name}" for name in ("loss", "rgb", "map", "action"))),
    Chart("held-out error of the map's peak (px)", ("stage1/held_out/map_peak_error_px",)),
    Chart("held-out error of the last waypoint (m)", ("stage1/held_out/last_waypoint_error_m",)),
)
STAGE2 = (
    _success("success with exploration, training scenes, Wilson 95 %", "stage2/success"),
    _success("success without exploration, validation scenes, Wilson 95 %", "stage2/validation/success"),
    Chart("dense and sparse return per episode", ("stage2/return_dense", "stage2/return_sparse")),
    Chart("KL divergence from Stage I", ("stage2/update/kl_to_stage1",)),
    Chart("clip fraction", ("stage2/update/clip_fraction",)),
    Chart("episodes per second", ("stage2/speed/episodes_per_s",)),
)


def describe_run(writer: SummaryWriter, charts: Sequence[Chart], config: Any, step: int) -> None:
    """Writes TensorBoard's custom-scalar page, a row of its table of hyperparameters, and its text `run`.

    Args:
        writer: of the run.
        charts: of the page.
        config: the settings, a dataclass.
        step: at which the run begins or goes on.
    """
    layout = {chart.title: _layout(chart) for chart in charts}
    writer.add_custom_scalars({"run": layout})
    settings = flat(config)
    # Without the summary of an experiment, TensorBoard takes all settings of all runs, those that differ first.
    _, row, _ = hparams({name: _hyperparameter(value) for name, value in settings.items()}, {})
    writer._get_file_writer().add_summary(row)
    parts = {"command": {"": shlex.join(sys.argv)}, "environment": environment(), "settings": settings}
    writer.add_text("run", "\n\n".join(_table(title, values) for title, values in parts.items()), step)


def _layout(chart: Chart) -> list[Any]:
    if chart.band is not None:
        return ["Margin", [*chart.tags, *chart.band]]
    return ["Multiline", [f"^{tag}$" for tag in chart.tags]]  # regular expressions


def _hyperparameter(value: Any) -> str | float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _table(title: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in values.items())])


def add_animation(writer: SummaryWriter, tag: str, pictures: Sequence[Image], step: int) -> None:
    """Logs pictures u8 [H, W, 3] as one that moves: an animated GIF, since TensorBoard's videos would need moviepy."""
    height, width, _ = pictures[0].shape
    gif = iio.imwrite("<bytes>", np.stack(pictures), extension=".gif", duration=FRAME_TIME, loop=0)
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def log_held_out(run: Path, result: Mapping[str, Any]) -> None:
    """Logs the success of Stage II on held-out scenes (`result.json`), by which TensorBoard can sort runs.

    It is one step after the last iteration: measured again, it replaces the first one.
    """
    step = result["environment_steps"] + 1
    writer = tensorboard(run, step)
    writer.add_scalar("stage2/held_out/success", result["stage2"]["success_rate"], step)
    writer.close()

"""What TensorBoard's files of a run hold: curves and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tb_logging import get_logger

Curve = list[tuple[int, float]]
"""Steps and values."""


class Picture(NamedTuple):
    """A logged picture: its tag, its step, and the bytes of a PNG or of an animated GIF."""

    tag: str
    step: int
    data: bytes

    @property
    def kind(self) -> str:
        """png or gif."""
        return "gif" if self.data.startswith(b"GIF8") else "png"


class Events:
    """Curves and pictures of a run, as far as they are written; without its files there are none."""

    def __init__(self, run: Path) -> None:
        get_logger().setLevel("ERROR")  # it would warn of every `--resume`
        everything = {"scalars": 0, "images": 0}
        self._events = EventAccumulator(str(run / "tensorboard"), size_guidance=everything)
        if (run / "tensorboard").is_dir():
            self._events.Reload()
        self._tags = self._events.Tags()

    def curve(self, tag: str) -> Curve:
        """The curve of a scalar; empty where it was not logged."""
        if tag not in self._tags["scalars"]:
            return []
        return [(event.step, event.value) for event in self._events.Scalars(tag)]

    def pictures(self) -> list[Picture]:
        """All pictures, animated ones first, and of either kind the newest first."""
        found = [
            Picture(tag, event.step, event.encoded_image_string)
            for tag in self._tags["images"]
            for event in self._events.Images(tag)
        ]
        return sorted(found, key=lambda picture: (picture.kind, -picture.step, picture.tag))

"""Drawing in pictures for people: value maps and points in the arms' colours, text, a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

ARM_COLOURS: tuple[Colour, Colour] = ((255, 115, 0), (0, 140, 255))  # left orange, right blue, everywhere
INK, PAPER = (40, 40, 40), 255
BAR = 32  # px, height of a line of text
OPACITY = 0.7  # of a value map where it is 1: what lies there stays visible
GLOW, DOTS, FRAME = "glow: where to act next", "dots: path of the tool", "frame: what the model sees"


def draw_glow(picture: Image, maps: NDArray[np.floating]) -> Image:
    """Blends value maps [2, H, W] in [0, 1] (left arm, right arm) into a picture u8 [H, W, 3]."""
    drawn = picture.astype(np.float32)
    for values, colour in zip(maps, ARM_COLOURS, strict=True):
        alpha = OPACITY * np.clip(values, 0, 1)[..., None]
        drawn = drawn * (1 - alpha) + alpha * np.array(colour)
    return drawn.astype(np.uint8)


def draw_dots(picture: Image, pixels: NDArray[np.floating], colour: Colour) -> Image:
    """A copy of a picture u8 [H, W, 3] with dots at pixels [n, 2] (u right, v down); the last is the largest."""
    drawn = np.ascontiguousarray(picture.copy())
    for index, (u, v) in enumerate(np.round(pixels).astype(int).tolist()):
        radius = 5 if index == len(pixels) - 1 else 3
        cv2.circle(drawn, (u, v), radius + 1, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(drawn, (u, v), radius, colour, -1, cv2.LINE_AA)
    return drawn


def text_bar(width: int, text: str, size: int = 16, weight: int = 400) -> Image:
    """A line of text on white, u8 [BAR, width, 3]; size in px."""
    bar = np.full((BAR, width, 3), PAPER, np.uint8)
    _write(bar, text, 8, size, weight)
    return bar


def legend(width: int, remarks: Sequence[str], size: int = 13) -> Image:
    """Which colour is which arm, and remarks on what is drawn, u8 [BAR, width, 3]; size of the letters in px."""
    bar, at = np.full((BAR, width, 3), PAPER, np.uint8), 8
    for name, colour in zip(("left arm", "right arm"), ARM_COLOURS, strict=True):
        cv2.circle(bar, (at + size // 2, BAR // 2), size // 2, colour, -1, cv2.LINE_AA)
        at = _write(bar, name, at + size + 4, size) + size
    for remark in remarks:
        at = _write(bar, remark, at, size) + size
    return bar


def _write(bar: Image, text: str, at: int, size: int, weight: int = 400) -> int:
    """Writes into a bar from `at` (px) on, in the middle of its height; returns where the text ends."""
    face = cv2.FontFace("sans")
    (end, _), _ = cv2.putText(bar, text, (at, (BAR + size) // 2 - 2), INK, face, size, weight)
    return int(end)

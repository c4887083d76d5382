"""Frames of episodes in videos, as LeRobot keeps them: many episodes one after another in a file."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from envs.errors import UserError

CODEC, PIXEL_FORMAT = "av1", "yuv420p"
"""What `VideoWriter` writes, as FFmpeg calls it."""
_ENCODER = "libsvtav1"
_ENCODER_OPTIONS = {"g": "2", "crf": "20", "preset": "8", "svtav1-params": "pred-struct=1"}
"""LeRobot's encoder and distance of key frames, at a better quality than its crf 30.

`pred-struct=1` codes frames in the order in which they are shown: with frames reordered around the key frames that we
ask for, the file once refused a packet (`Invalid argument`, as it does to times that go back).
"""
_MAX_IMAGE_PIXELS = 2**22  # px; RoboTwin's are 76 800
_MAX_EPISODE_BYTES = 2**33  # of an episode's images of one camera


def read_frames(path: Path, start: float, fps: float, length: int) -> np.ndarray:
    """The `length` frames of a video from `start` (s) on, u8 [T, H, W, 3]; AV1, H.264 and whatever else FFmpeg reads.

    Raises:
        UserError: the video has no frame at one of those times, or says that they are huge.
        av.FFmpegError: it is no video, or damaged.
    """
    images: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pixels = stream.width * stream.height
        if not 0 < pixels <= _MAX_IMAGE_PIXELS or 3 * pixels * length > _MAX_EPISODE_BYTES or stream.time_base is None:
            raise UserError(
                f"{path} says that an episode has {length} images of {stream.width} x {stream.height} px, more than "
                "can be read; download or copy the dataset again."
            )
        container.seek(max(0, round(start / stream.time_base) - 1), stream=stream)  # to the key frame before
        for frame in container.decode(stream):
            position = ((frame.time or 0.0) - start) * fps
            if position < len(images) - 0.5:
                continue
            if position > len(images) + 0.5 or frame.width * frame.height != pixels:
                break
            images.append(frame.to_ndarray(format="rgb24"))
            if len(images) == length:
                return np.stack(images)
    raise UserError(
        f"{path} has no frame {start + len(images) / fps:.3f} s after its start, where an episode of {length} frames "
        f"at {fps:g} per second has one; download or copy the dataset again."
    )


class VideoWriter:
    """Appends frames to a new AV1 video.

    Args:
        path: the file, .mp4.
        height_width: of the frames.
        fps: frames per second.

    Attributes:
        frames: how many were appended.
        size: bytes that the encoder has given out for them so far.
    """

    def __init__(self, path: Path, height_width: tuple[int, int], fps: Fraction) -> None:
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it reads this where an encoder is made
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frames = self.size = 0
        self._container, self._rate = av.open(str(path), "w"), fps
        self._stream = self._container.add_stream(_ENCODER, rate=fps, options=_ENCODER_OPTIONS)
        self._stream.height, self._stream.width = height_width
        self._stream.pix_fmt = PIXEL_FORMAT

    def append(self, images: np.ndarray) -> None:
        """Appends an episode u8 [T, H, W, 3], RGB. Raises av.FFmpegError: it cannot be encoded or written."""
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = self.frames + number, 1 / self._rate
            if number == 0:  # a key frame, so that the episode can be cut out (Rerun's viewer does)
                frame.pict_type = PictureType.I
            self._write(frame)
        self.frames += len(images)

    def close(self) -> None:
        """Writes what the encoder holds back; the file is complete then."""
        self._write(None)
        self._container.close()

    def _write(self, frame: av.VideoFrame | None) -> None:
        packets = self._stream.encode(frame)
        self._container.mux(packets)
        self.size += sum(packet.size for packet in packets)

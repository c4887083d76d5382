"""Reads HDF5 files from outside: damage and missing fields end in one sentence, and nothing is unpickled."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from envs.errors import UserError

# OpenCV looks along +z with y down, OpenGL along -z with y up.
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_MAX_FIELD_BYTES = 2**28  # bytes; the joints of 100 000 frames are 6 MB
_MAX_IMAGE_PIXELS = 2**22  # px; RoboTwin's are 76 800
_RGB_MARK = b"XPL-RGB1"  # comment of a standard JPEG (XPolicyLab and RoboTwin since September 2026)
_HEAP = b"GCOL\x01\x00\x00\x00"  # signature and version of a global heap collection


class EpisodeFile:
    """An open episode file. Every method raises UserError if the field is missing or cannot be read."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file = file
        self._bytes = path.stat().st_size
        self.path = path

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def length(self, name: str) -> int:
        """Length of a field's first axis, without reading it."""
        return len(self._field(name))

    def array(self, name: str) -> np.ndarray:
        """A field as it is stored."""
        return np.asarray(self._field(name)[()])

    def floats(self, name: str) -> np.ndarray:
        """A field as f32."""
        return self.array(name).astype(np.float32)

    def text(self, name: str) -> str:
        """A field that holds one string."""
        value = self.array(name).item()
        return value.decode() if isinstance(value, bytes) else str(value)

    def images(self, name: str) -> np.ndarray:
        """JPEGs -> u8 [T, H, W, 3], RGB.

        Files hold two kinds, also side by side. RoboTwin before September 2026 (and `write_episode`) passes RGB to
        OpenCV's BGR encoder, so OpenCV's decoder returns RGB. Later ones are standard JPEGs with a comment
        (`_RGB_MARK`), which OpenCV decodes to BGR.
        """
        images = []
        for jpeg in self.array(name):
            data = bytes(jpeg) if len(jpeg) else b""
            pixels, is_standard = jpeg_header(data)
            # A few bytes may claim an image of gigabytes, which OpenCV would allocate.
            fits = 0 < pixels <= _MAX_IMAGE_PIXELS
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if fits else None
            if image is None:
                raise UserError(f"{self.path} holds an image that cannot be decoded; record or copy it again.")
            images.append(image[..., ::-1] if is_standard else image)
        return np.stack(images)

    def attribute(self, name: str) -> Any:
        """An attribute of the file."""
        value = self._file.attrs.get(name)
        if value is None:
            raise UserError(f"{self.path} has no attribute {name}; it is damaged, record or copy it again.")
        return value

    def has_attribute(self, name: str) -> bool:
        """Whether the file has an attribute of this name."""
        return name in self._file.attrs

    def _field(self, name: str) -> h5py.Dataset:
        dataset = self._file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            raise UserError(f"{self.path} has no field {name}; it is damaged or was recorded without it.")
        # A field takes no space in the file until it is written, whatever it says of its shape.
        if dataset.nbytes > _MAX_FIELD_BYTES or (dataset.ndim and len(dataset) > self._bytes):
            raise UserError(f"{self.path} says that its {name} has shape {dataset.shape}, which no episode has.")
        return dataset


@contextmanager
def opened(path: Path) -> Iterator[EpisodeFile]:
    """Opens an episode file for reading.

    Raises:
        UserError: it is missing, damaged, not HDF5, not readable or being written by another process; or the body of
            the `with` fails with an error that only a damaged file causes.
    """
    try:
        _check_heaps(path)
        with h5py.File(path, "r") as file:
            yield EpisodeFile(file, path)
    except FileNotFoundError as error:
        raise UserError(f"There is no episode {path}.") from error
    # h5py reports damage as any of these, depending on which block of the file is hit.
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(_why_unreadable(path, error)) from error
    except (ValueError, TypeError, AttributeError, MemoryError, cv2.error) as error:
        raise UserError(f"{path} holds a field of the wrong shape or type; record or copy it again.") from error


def _why_unreadable(path: Path, error: Exception) -> str:
    """The system's reason in a sentence, with advice where it helps."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EAGAIN, errno.EWOULDBLOCK) or "unable to lock file" in str(error):
        return f"{path} is open in another process that writes it; wait until that is done and try again."
    if isinstance(error, OSError) and number is not None:
        path = Path(error.filename or path)  # perhaps another file that the episode needs
        return f"{path} cannot be read: {errno.errorcode.get(number, number)}, {os.strerror(number)}."
    reason = str(error).split("\n")[0]
    return f"{path} is truncated or not an HDF5 episode ({reason}); record or copy it again."


def _check_heaps(path: Path) -> None:
    """Checks the sizes in the heaps that hold variable-length data.

    HDF5 2.0 adds an object's size to its position without a check: a damaged size near 2^64 wraps around, and the
    library reads the same heap forever.

    Raises:
        OSError: an object is larger than what is left of its heap, or a heap than the file.
    """
    data = path.read_bytes()
    start = data.find(_HEAP)
    while start >= 0:
        size = int.from_bytes(data[start + 8 : start + 16], "little")
        if start + size > len(data):
            raise OSError("a heap is larger than the file")
        position, end = start + 16, start + size
        while position + 16 <= end:
            index, length = struct.unpack_from("<H6xQ", data, position)
            # Object 0 is the free space; its length counts its own header. The others are padded to 8 bytes.
            length = length if index == 0 else 16 + (length + 7) // 8 * 8
            if not 0 < length <= end - position:
                raise OSError("an object is larger than its heap")
            position += length
        start = data.find(_HEAP, start + 8)


def jpeg_header(data: bytes) -> tuple[int, bool]:
    """Width times height that a JPEG claims, 0 if it is none; and whether it is marked as standard RGB."""
    position, is_standard = 2, False
    while data[:2] == b"\xff\xd8" and position + 9 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header; the others are tables
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height * width, is_standard
        is_standard |= marker == 0xFE and data[position + 4 : position + 2 + length] == _RGB_MARK
        position += 2 + length
    return 0, False


def camera_to_world_opengl(extrinsic: np.ndarray) -> np.ndarray:
    """World to camera, OpenCV [T, 3, 4] -> camera to world, OpenGL [T, 4, 4]."""
    square = np.broadcast_to(np.eye(4), (len(extrinsic), 4, 4)).copy()
    square[:, :3] = extrinsic
    return (np.linalg.inv(square) @ _OPENCV_FROM_OPENGL).astype(np.float32)


def world_to_camera_opencv(camera_to_world: np.ndarray) -> np.ndarray:
    """Camera to world, OpenGL [T, 4, 4] -> world to camera, OpenCV [T, 3, 4]."""
    world_to_camera = np.linalg.inv(camera_to_world.astype(np.float64) @ _OPENCV_FROM_OPENGL)
    return world_to_camera[:, :3].astype(np.float32)

"""XPolicyLab's WebSocket protocol, through which RoboTwin's own evaluation (branch `main`) queries a policy.

A message is a binary frame: a msgpack map of `message_type`, `message_id`, `evaluation_id`, `action_case_id`,
`trial_id`, `repeat_index`, `step`, `sent_at` and `payload`, with arrays in the format of the package msgpack-numpy. A
reply repeats all fields but type, time and payload. Sources: XPolicyLab's client_server/ws (July 2026) and RoboTwin's
scripts/eval_policy_xpolicylab.py.

msgpack-numpy itself is not used: its `decode` unpickles object arrays (0.4.8), and the bytes come from the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from aim_rl.data.decoding import crop_and_resize
from aim_rl.data.robotwin import DISK_CAMERA
from aim_rl.model.presets import Preset
from envs.constants import ARMS

REPLIES = {
    "hello": "hello_ack",
    "prepare_case": "prepare_case_ack",
    "reset": "reset_result",
    "infer": "infer_result",
    "trial_end": "trial_end_ack",
    "heartbeat": "heartbeat_ack",
    "close": None,
}
"""Request -> reply; None: the connection is closed."""
ACTION_TYPES = {"joint": "joint", "qpos": "joint", "ee": "ee", "endpose": "ee"}
"""RoboTwin's name of an action type -> ours."""
MAX_ITEMS = 4096
"""Longest list or map; numbers come as arrays."""
_ECHOED = ("evaluation_id", "action_case_id", "trial_id", "repeat_index", "step")


class ProtocolError(Exception):
    """A message that cannot be answered as asked.

    Args:
        code: XPolicyLab's: invalid_frame, unknown_message_type, reset_failed, infer_failed or internal.
        text: one sentence.
        message: the envelope, as far as it could be read.
    """

    def __init__(self, code: str, text: str, message: Message | None = None) -> None:
        super().__init__(text)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Message:
    """A message from the evaluation."""

    kind: str
    """One of `REPLIES`."""
    message_id: str
    echoed: dict[str, Any]
    """Fields that the reply repeats."""
    payload: dict[str, Any]


# -- frames -------------------------------------------------------------------------------------------------------


def read_message(frame: bytes | str) -> Message:
    """Reads a frame.

    Raises:
        ProtocolError: it is not a message of this protocol. Unknown fields are ignored, as in XPolicyLab's server.
    """
    if isinstance(frame, str):
        raise ProtocolError("invalid_frame", "a message is a binary frame, not a text one")
    try:
        fields = msgpack.unpackb(frame, object_hook=_decode, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS)
    except (ValueError, TypeError, LookupError, OverflowError, SyntaxError, msgpack.UnpackException) as error:
        raise ProtocolError("invalid_frame", f"this is no msgpack of plain arrays: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError("invalid_frame", f"a message is a map, not a {type(fields).__name__}")
    kind, payload = fields.get("message_type"), fields.get("payload")
    payload = {} if payload is None else payload
    message = Message(
        kind=kind if isinstance(kind, str) else "",
        message_id=str(fields.get("message_id", "")),
        echoed={name: fields[name] for name in _ECHOED if isinstance(fields.get(name), str | int)},
        payload=payload if isinstance(payload, dict) else {},
    )
    for name in ("message_type", "message_id", "evaluation_id"):
        if fields.get(name) is None:
            raise ProtocolError("invalid_frame", f"the message has no {name}", message)
    if not isinstance(payload, dict):
        raise ProtocolError("invalid_frame", f"payload is a map, not a {type(payload).__name__}", message)
    if message.kind not in REPLIES:
        raise ProtocolError(
            "unknown_message_type", f"there is no request {kind!r}; known: {', '.join(REPLIES)}", message
        )
    return message


def write_reply(message: Message, payload: dict[str, Any]) -> bytes:
    """The answer to a message."""
    return _frame(REPLIES[message.kind], message, payload)


def write_error(error: ProtocolError) -> bytes:
    """The error reply; its message id is empty if none could be read."""
    return _frame("error", error.message, {"code": error.code, "message": str(error), "details": {}})


def _frame(kind: str | None, to: Message | None, payload: dict[str, Any]) -> bytes:
    empty: dict[str, Any] = {
        "evaluation_id": "",
        "action_case_id": None,
        "trial_id": None,
        "repeat_index": None,
        "step": 0,
    }
    envelope = {
        "message_type": kind,
        "message_id": to.message_id if to else "",
        "sent_at": datetime.now(UTC).isoformat(),
    }
    fields = {**empty, **(to.echoed if to else {}), **envelope, "payload": payload}
    return msgpack.Packer(default=_encode).pack(fields)


def _encode(value: Any) -> dict[bytes, Any]:
    """msgpack-numpy's map of an array."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"cannot send a {type(value).__name__}")
    data = np.ascontiguousarray(value)
    return {b"nd": True, b"type": data.dtype.str, b"kind": b"", b"shape": data.shape, b"data": data.tobytes()}


def _decode(value: dict[Any, Any]) -> Any:
    """A map of msgpack-numpy -> its array or number; other maps unchanged.

    Raises:
        ValueError: the dtype is not a plain number, or the bytes do not fill the shape.
    """
    if b"nd" not in value:
        return value
    described = value[b"type"]
    dtype = np.dtype(described) if isinstance(described, str) else None
    if dtype is None or dtype.kind not in "biuf":
        raise ValueError(f"an array of type {described!r} is not one of plain numbers")
    numbers = np.frombuffer(value[b"data"], dtype)
    if not value[b"nd"]:
        return numbers[0]
    if any(side < 0 for side in value[b"shape"]):
        raise ValueError("an array has a negative length")
    return numbers.reshape(value[b"shape"])


# -- observations and actions -------------------------------------------------------------------------------------


def read_observation(payload: Mapping[str, Any], preset: Preset) -> tuple[dict[str, NDArray[Any]], str]:
    """The environment's observation and the instruction, from the payload of `infer`.

    Images are area-resized to the preset's sizes. `qpos` holds RoboTwin's drive targets. Measured joints are not sent,
    so `qpos_measured` equals `qpos`, as in RoboTwin's data.

    Returns:
        cameras u8 [H, W, 3]; `qpos` and `qpos_measured` f32 [14]; endposes f32 [7], world.

    Raises:
        ProtocolError: something is missing, of another shape or not finite.
        UserError: the images are too small for the preset.
    """
    observation: dict[str, NDArray[Any]] = {}
    for camera, name in DISK_CAMERA.items():
        image = _find(payload, "observation", "vision", name, "color")
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ProtocolError("infer_failed", f"vision/{name}/color is not an image u8 [H, W, 3]")
        size = preset.head_size if camera == "head_camera" else preset.wrist_size
        if image.shape[:2] != size:
            image = crop_and_resize(image[None], np.eye(3)[None], size)[0][0]
        observation[camera] = image
    joints = [(f"{arm}_{part}_joint_state", count) for arm in ARMS for part, count in (("arm", 6), ("ee", 1))]
    observation["qpos"] = np.concatenate([_numbers(payload, *each) for each in joints])
    observation["qpos_measured"] = observation["qpos"]
    for arm in ARMS:
        observation[f"{arm}_endpose"] = _numbers(payload, f"{arm}_ee_pose", 7)
    instruction = _find(payload, "observation", "instruction")
    if not isinstance(instruction, str):
        raise ProtocolError("infer_failed", "the instruction is not a text")
    return observation, instruction


def _find(payload: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(payload, Mapping) or name not in payload:
            raise ProtocolError("infer_failed", f"the observation lacks {'/'.join(path)}")
        payload = payload[name]
    return payload


def _numbers(payload: Mapping[str, Any], name: str, count: int) -> NDArray[np.float32]:
    try:
        values = np.asarray(_find(payload, "observation", "state", name), np.float32)
    except (TypeError, ValueError) as error:
        raise ProtocolError("infer_failed", f"state/{name} does not hold numbers") from error
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ProtocolError(
            "infer_failed",
            f"state/{name} has shape {values.shape} or is not finite; a robot with two arms of 6 joints, such as "
            f"aloha-agilex, has ({count},)",
        )
    return values


def action_rows(chunk: NDArray[np.float32], action_type: str) -> list[dict[str, Any]]:
    """A chunk in the format of RoboTwin's evaluation: one map per action.

    Args:
        chunk: "joint" [h, 14] joint targets or "ee" [h, 16] endposes, in the environment's order.
        action_type: "joint" or "ee".
    """
    part = "arm_joint_state" if action_type == "joint" else "ee_pose"

    def row(action: NDArray[np.float32]) -> dict[str, Any]:
        named: dict[str, Any] = {"action_type": action_type}
        for arm, values in zip(ARMS, np.split(action, 2), strict=True):
            named |= {f"{arm}_{part}": values[:-1], f"{arm}_ee_joint_state": values[-1:]}
        return named

    return [row(action) for action in chunk]

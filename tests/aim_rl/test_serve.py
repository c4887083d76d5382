"""A checkpoint driven as RoboTwin's own evaluation drives it, through XPolicyLab's protocol."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from aim_rl.model import AIM, PRESETS
from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.rl.policy import AimPolicy
from aim_rl.runs.folder import one_thread
from envs.tabletop import kinematics as kin

TINY = dataclasses.replace(PRESETS["tiny"], history=2)
ANSWER_TIMEOUT = 300  # s
INSTRUCTION = "stack the red block on the green one"


def random_model() -> AIM:
    torch.manual_seed(0)
    model = AIM(TINY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    model.waypoints.std.fill_(0.002)
    return model.eval()


MODEL = random_model()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, running, and its address."""
    folder = tmp_path_factory.mktemp("serve") / "model"
    save_checkpoint(folder, MODEL, {"task": "stack_blocks_two", "stage": 1})
    command = [sys.executable, "-m", "aim_rl.serve", "--checkpoint", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    words = process.stdout.readline().split()
    if not words:
        pytest.fail(process.stderr.read())
    yield process, next(word for word in words if word.startswith("ws://")).rstrip(";")
    process.kill()
    process.wait()


@pytest.fixture
def channel(server: tuple[subprocess.Popen[str], str]) -> Iterator[ClientConnection]:
    with dial(server[1]) as connection:
        yield connection


def dial(address: str) -> ClientConnection:
    return connect(address, open_timeout=ANSWER_TIMEOUT, ping_interval=None)


def pack_array(value: Any) -> Any:
    """As msgpack-numpy writes arrays."""
    return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape, b"data": value.tobytes()}


def unpack_array(value: dict[Any, Any]) -> Any:
    return np.ndarray(value[b"shape"], value[b"type"], value[b"data"]) if b"nd" in value else value


def envelope(kind: str, payload: Any, **changes: Any) -> dict[str, Any]:
    """As XPolicyLab's client fills it."""
    identity = {
        "message_id": f"{kind}-1",
        "evaluation_id": "robotwin-eval",
        "trial_id": "trial",
        "action_case_id": "case",
    }
    rest = {"repeat_index": None, "step": 3, "sent_at": "2026-11-24T00:00:00+00:00", "payload": payload}
    return {"message_type": kind, **identity, **rest, **changes}


def raw(channel: ClientConnection, frame: bytes | str) -> dict[str, Any]:
    channel.send(frame)
    return msgpack.unpackb(channel.recv(timeout=ANSWER_TIMEOUT), object_hook=unpack_array)


def ask(channel: ClientConnection, kind: str, payload: Any = None, **changes: Any) -> dict[str, Any]:
    return raw(channel, msgpack.packb(envelope(kind, payload or {}, **changes), default=pack_array))


def observed(seed: int) -> dict[str, Any]:
    """What RoboTwin's evaluation sends: 240x320 cameras, state and instruction."""
    rng = np.random.default_rng(seed)
    names = ("cam_head", "cam_left_wrist", "cam_right_wrist")
    pictures = {name: rng.integers(0, 256, (24, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1) for name in names}
    vision = {
        name: {"color": picture, "shape": picture.shape[:2], "extrinsics_matrix": np.eye(4, dtype=np.float32)}
        for name, picture in pictures.items()
    }
    qpos = rng.uniform(0.1, 0.5, 14).astype(np.float32)
    state = {}
    for arm, start in (("left", 0), ("right", 7)):
        position, _ = kin.arm_endpose(arm, torch.from_numpy(qpos[start : start + 6]))
        state[f"{arm}_arm_joint_state"] = qpos[start : start + 6]
        state[f"{arm}_ee_joint_state"] = qpos[start + 6 : start + 7]
        state[f"{arm}_ee_pose"] = np.append(position.numpy(), [1, 0, 0, 0]).astype(np.float32)
    return {
        "data_format_version": "v1.0",
        "instruction": INSTRUCTION,
        "instructions": [INSTRUCTION],
        "env_idx": 0,
        "vision": vision,
        "state": state,
        "additional_info": {"frequency": 30},
    }


def as_environment(message: dict[str, Any], decision: int) -> TensorDict:
    """The same, as the environment would have observed it at the preset's sizes."""
    head, left, right = (message["vision"][name]["color"] for name in ("cam_head", "cam_left_wrist", "cam_right_wrist"))
    (h, w), (wrist_h, wrist_w), state = TINY.head_size, TINY.wrist_size, message["state"]
    margin = (320 - 240 * wrist_w // wrist_h) // 2  # of a wider picture than the preset's
    wrists = [
        cv2.resize(each[:, margin : 320 - margin], (wrist_w, wrist_h), interpolation=cv2.INTER_AREA)
        for each in (left, right)
    ]
    parts = [state[f"{arm}_{part}_joint_state"] for arm in ("left", "right") for part in ("arm", "ee")]
    arrays = {
        "head_camera": cv2.resize(head, (w, h), interpolation=cv2.INTER_AREA),
        "left_camera": wrists[0],
        "right_camera": wrists[1],
        "qpos": np.concatenate(parts),
        "qpos_measured": np.concatenate(parts),
        **{f"{arm}_endpose": state[f"{arm}_ee_pose"] for arm in ("left", "right")},
    }
    inputs: dict[str, Any] = {key: torch.from_numpy(value)[None] for key, value in arrays.items()}
    inputs["text"], inputs["decision"] = MODEL.text.tokenize(INSTRUCTION)[None], torch.tensor([[decision]])
    return TensorDict(inputs, [1])


@one_thread()
@torch.no_grad()
def expected(messages: list[dict[str, Any]]) -> list[np.ndarray]:
    """The endposes that the policy commands over one trial, [execute, 16] per decision."""
    policy = AimPolicy(MODEL, TINY.execute)
    return [policy(as_environment(each, i))["action"][0].numpy() for i, each in enumerate(messages)]


def endposes(actions: list[dict[str, Any]]) -> np.ndarray:
    assert {each["action_type"] for each in actions} == {"ee"}
    return np.stack(
        [np.concatenate([each[f"{arm}_{part}"] for arm in ("left", "right") for part in ("ee_pose", "ee_joint_state")])
         for each in actions]
    )  # fmt: skip


def begin(channel: ClientConnection, action_type: str = "ee") -> None:
    case = {"task_name": "stack_blocks_two", "seed": 100_000, "instruction": INSTRUCTION, "action_type": action_type}
    assert ask(channel, "prepare_case", {"action_case_id": "case", **case})["message_type"] == "prepare_case_ack"
    assert ask(channel, "reset", {"trial_id": "trial", **case})["message_type"] == "reset_result"


def infer(channel: ClientConnection, message: dict[str, Any]) -> list[dict[str, Any]]:
    reply = ask(channel, "infer", {"observation": message})
    assert reply["message_type"] == "infer_result", reply["payload"]
    return reply["payload"]["actions"]


def test_a_trial_acts_as_evaluation_does_and_reset_forgets(channel: ClientConnection) -> None:
    hello = ask(channel, "hello", {"evaluation_plan": {}})
    assert hello["message_type"] == "hello_ack" and hello["payload"]["ok"] is True
    echoed = {"message_id": "hello-1", "evaluation_id": "robotwin-eval", "trial_id": "trial", "step": 3}
    assert echoed.items() <= hello.items()
    messages = [observed(seed) for seed in range(3)]
    remembering, fresh = expected(messages), [expected([each])[0] for each in messages]
    assert max(abs(remembering[2] - fresh[2]).flat) > 1e-4  # or there would be nothing to forget
    for _ in range(2):
        begin(channel)
        for message, wanted in zip(messages, remembering, strict=True):
            np.testing.assert_allclose(endposes(infer(channel, message)), wanted, atol=1e-6)
    ended = ask(channel, "trial_end", {"task_name": "stack_blocks_two", "seed": 1, "success": True})
    assert ended["message_type"] == "trial_end_ack"
    assert ask(channel, "heartbeat")["message_type"] == "heartbeat_ack"


def test_joint_targets_reach_the_endposes(channel: ClientConnection) -> None:
    message = observed(0)
    begin(channel, "joint")
    actions, (wanted,) = infer(channel, message), expected([message])
    assert {each["action_type"] for each in actions} == {"joint"} and len(actions) == TINY.execute
    for action, target in zip(actions, wanted, strict=True):
        for arm, start in (("left", 0), ("right", 8)):
            position, _ = kin.arm_endpose(arm, torch.from_numpy(action[f"{arm}_arm_joint_state"]))
            np.testing.assert_allclose(position.numpy(), target[start : start + 3], atol=1e-3)
            np.testing.assert_allclose(action[f"{arm}_ee_joint_state"], target[start + 7 : start + 8], atol=1e-6)


def test_a_trial_goes_on_over_another_connection_beside_another_evaluation(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    messages = [observed(seed) for seed in range(2)]
    with dial(server[1]) as one:
        begin(one)
        infer(one, messages[0])
    with dial(server[1]) as one, dial(server[1]) as other:
        ask(other, "reset", {"action_type": "ee"}, evaluation_id="another")
        reply = ask(other, "infer", {"observation": messages[1]}, evaluation_id="another")
        fresh, remembering = expected([messages[1]])[0], expected(messages)[1]
        np.testing.assert_allclose(endposes(reply["payload"]["actions"]), fresh, atol=1e-6)
        np.testing.assert_allclose(endposes(infer(one, messages[1])), remembering, atol=1e-6)


OBJECTS = {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": (1,), b"data": b"cos\nsystem\n(S'true'\ntR."}


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("hello", "invalid_frame", "binary"),
        (b"\xc1\x00", "invalid_frame", "no msgpack"),
        (msgpack.packb([1, 2]), "invalid_frame", "is a map"),
        (msgpack.packb(envelope("infer", OBJECTS)), "invalid_frame", "plain numbers"),
        (msgpack.packb(envelope("infer", OBJECTS | {b"type": "|u1"})), "invalid_frame", "reshape"),
        (msgpack.packb(envelope("infer", OBJECTS | {b"type": "|u1", b"shape": (-1,)})), "invalid_frame", "negative"),
        (msgpack.packb({"message_type": "hello", "message_id": "hello-1"}), "invalid_frame", "no evaluation_id"),
        (msgpack.packb(envelope("infer", [1])), "invalid_frame", "payload is a map"),
        (msgpack.packb(envelope("fly", {})), "unknown_message_type", "'fly'"),
        (msgpack.packb(envelope("infer_result", {})), "unknown_message_type", "infer_result"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_answered_and_the_next_one_too(
    channel: ClientConnection, frame: bytes | str, code: str, words: str
) -> None:
    reply = raw(channel, frame)
    assert (reply["message_type"], reply["payload"]["code"]) == ("error", code)
    assert words in reply["payload"]["message"]
    assert ask(channel, "heartbeat")["message_type"] == "heartbeat_ack"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("vision", "cam_head"), {}, "lacks observation/vision/cam_head/color"),
        (("vision", "cam_head", "color"), np.zeros((240, 320), np.uint8), "not an image"),
        (("vision", "cam_head", "color"), np.zeros((4, 4, 3), np.uint8), "4 x 4 px"),
        (("state", "left_arm_joint_state"), np.zeros(7, np.float32), "two arms of 6 joints"),
        (("state", "right_ee_pose"), np.full(7, np.nan, np.float32), "not finite"),
        (("state", "right_ee_joint_state"), "open", "numbers"),
        (("instruction",), 5, "not a text"),
    ],
)
def test_an_observation_that_is_none_is_named(
    channel: ClientConnection, path: tuple[str, ...], value: Any, words: str
) -> None:
    message = observed(0)
    part = message
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    begin(channel)
    reply = ask(channel, "infer", {"observation": message})
    assert (reply["message_type"], reply["message_id"], reply["payload"]["code"]) == (
        "error",
        "infer-1",
        "infer_failed",
    )
    assert words in reply["payload"]["message"]
    np.testing.assert_allclose(endposes(infer(channel, observed(1))), expected([observed(1)])[0], atol=1e-6)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"action_type": "torque"}, "take joint or ee"),
        ({"task_name": "lift_pot"}, "stack_blocks_two, not for lift_pot"),
    ],
)
def test_a_trial_that_cannot_be_served(channel: ClientConnection, payload: dict[str, Any], words: str) -> None:
    reply = ask(channel, "reset", payload)
    assert reply["payload"]["code"] == "reset_failed" and words in reply["payload"]["message"]


def test_an_oversized_message_ends_its_connection_alone(server: tuple[subprocess.Popen[str], str]) -> None:
    with dial(server[1]) as one, dial(server[1]) as other:
        with pytest.raises(ConnectionClosed):
            raw(one, bytes(65 * 2**20))
        assert ask(other, "heartbeat")["message_type"] == "heartbeat_ack"


def test_close_ends_the_connection(channel: ClientConnection) -> None:
    with pytest.raises(ConnectionClosed):
        ask(channel, "close", {"reason": "done"})


def test_a_port_that_is_taken_is_one_sentence(server: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", MODEL, {"task": "stack_blocks_two", "stage": 1})
    command = [sys.executable, "-m", "aim_rl.serve", "--checkpoint", str(tmp_path / "model")]
    done = subprocess.run([*command, "--port", server[1].rsplit(":", 1)[1]], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: cannot listen on 127.0.0.1:")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_ends_it_with_a_client_connected(server: tuple[subprocess.Popen[str], str]) -> None:
    process, address = server
    with dial(address) as connection:
        begin(connection)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=ANSWER_TIMEOUT)
    assert process.returncode == 130 and errors == "interrupted\n"
    assert "stack_blocks_two seed 1: success" in output

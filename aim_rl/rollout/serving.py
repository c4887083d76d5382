"""Serves a policy to RoboTwin's own evaluation, through XPolicyLab's WebSocket protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from aim_rl.model import AIM
from aim_rl.rollout.xpolicylab import (
    ACTION_TYPES,
    Message,
    ProtocolError,
    action_rows,
    read_message,
    read_observation,
    write_error,
    write_reply,
)
from aim_rl.runs.folder import one_thread
from envs.errors import UserError
from envs.tabletop.robot import joint_targets

MAX_MESSAGE_BYTES = 16 * 2**20  # an observation of four 480x640 cameras is 4 MB
MAX_TRIALS = 64  # at the same time

Policy = Callable[[TensorDictBase], TensorDictBase]
"""Reads an observation [1] and writes `action`, endposes [1, execute, 16]."""


@dataclass
class Trial:
    """State of one trial of an evaluation."""

    policy: Policy
    action_type: str = "joint"
    decision: int = 0


class PolicyServer:
    """Answers the requests of any number of evaluations, one at a time.

    A trial belongs to an evaluation, not to its connection: XPolicyLab's client answers no ping while RoboTwin
    simulates, so it may lose the connection and continue the trial on another one.

    Args:
        model: of the checkpoint.
        tasks: names of the tasks that it was trained for.
        new_policy: makes the policy of a trial; it may have a memory.
    """

    def __init__(self, model: AIM, tasks: list[str], new_policy: Callable[[], Policy]) -> None:
        self.model, self.tasks, self._new_policy = model, tasks, new_policy
        self._trials: dict[Any, Trial] = {}

    def answer(self, frame: bytes | str) -> bytes | None:
        """The answer to a frame, also if it is an error; None: the client wants to close the connection."""
        message: Message | None = None
        try:
            message = read_message(frame)
            if message.kind == "close":
                return None
            return write_reply(message, self._payload(message))
        except ProtocolError as error:
            return write_error(ProtocolError(error.code, str(error), error.message or message))
        except UserError as error:
            return write_error(ProtocolError("infer_failed", str(error), message))
        except Exception as error:  # one bad request must not end an evaluation that takes hours
            logging.exception("a request failed")
            return write_error(ProtocolError("internal", f"{type(error).__name__}: {error}", message))

    def _payload(self, message: Message) -> dict[str, Any]:
        payload, name = message.payload, (message.echoed.get("evaluation_id"), message.echoed.get("trial_id"))
        if message.kind == "infer":
            trial = self._trials.get(name) or self._begin(name, "joint")
            return {"actions": action_rows(self._act(trial, payload), trial.action_type)}
        if message.kind == "reset":
            self._reset(name, payload)
        elif message.kind == "trial_end":
            self._trials.pop(name, None)
            success = payload.get("success")
            outcome = "success" if isinstance(success, bool | np.bool_) and success else "no success"
            print(f"{payload.get('task_name')} seed {payload.get('seed')}: {outcome}", flush=True)
        return {"ok": True, "server": "aim_rl"} if message.kind == "hello" else {"ok": True}

    def _reset(self, name: Any, payload: dict[str, Any]) -> None:
        wanted, task = payload.get("action_type", "joint"), payload.get("task_name")
        if not isinstance(wanted, str) or wanted not in ACTION_TYPES:
            raise ProtocolError("reset_failed", f"action_type {wanted!r} does not exist; take joint or ee")
        if task is not None and not (isinstance(task, str) and task in self.tasks):
            raise ProtocolError(
                "reset_failed", f"the served checkpoint was trained for {', '.join(self.tasks)}, not for {task}"
            )
        self._begin(name, ACTION_TYPES[wanted])

    def _begin(self, name: Any, action_type: str) -> Trial:
        self._trials.pop(name, None)
        if len(self._trials) == MAX_TRIALS:
            self._trials.pop(next(iter(self._trials)))  # the oldest, whose evaluation has probably died
        self._trials[name] = Trial(self._new_policy(), action_type)
        return self._trials[name]

    @torch.no_grad()
    def _act(self, trial: Trial, payload: dict[str, Any]) -> NDArray[np.float32]:
        """The next chunk: joint targets [execute, 14] or endposes [execute, 16]."""
        observation, instruction = read_observation(payload, self.model.preset)
        inputs = {key: torch.from_numpy(np.array(value))[None] for key, value in observation.items()}
        inputs["text"] = self.model.text.tokenize(instruction)[None]
        inputs["decision"] = torch.tensor([[trial.decision]])
        with one_thread():  # as in evaluation; set here because torch counts threads per calling thread
            chunk: NDArray[np.float32] = cast(Tensor, trial.policy(TensorDict(inputs, [1]))["action"])[0].numpy()
        trial.decision += 1
        if trial.action_type == "ee":
            return chunk
        return joint_targets(observation["qpos"].astype(np.float64), chunk.astype(np.float64)).astype(np.float32)


async def run_server(server: PolicyServer, host: str, port: int) -> None:
    """Serves until cancelled; prints the address.

    Raises:
        UserError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:  # one request at a time, while pings are answered

        async def handle(connection: ServerConnection) -> None:
            try:
                async for frame in connection:
                    answer = await loop.run_in_executor(thread, server.answer, frame)
                    if answer is None:
                        return
                    await connection.send(answer)
            except ConnectionClosed:
                pass  # the evaluation died or sent too large a message

        try:
            # No pings: XPolicyLab's client answers none while RoboTwin simulates.
            listener = await serve(handle, host, port, max_size=MAX_MESSAGE_BYTES, compression=None, ping_interval=None)
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port} ({error}); choose another --port or --host") from error
        async with listener:
            name, port = listener.sockets[0].getsockname()[:2]
            print(f"serving {', '.join(server.tasks)} on ws://{name}:{port}; Ctrl-C ends it", flush=True)
            await listener.serve_forever()

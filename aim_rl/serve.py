"""Lets RoboTwin's own evaluation drive a checkpoint: `python -m aim_rl.serve --checkpoint DIR`.

Answers XPolicyLab's WebSocket protocol until Ctrl-C. In the RoboTwin checkout (branch `main`), the other side is
`bash scripts/eval_policy.sh --policy_name aim_rl --task_name T --task_config demo_clean --host localhost --port 19000`.

Decisions are those of `aim_rl.evaluate`: the same policy, deterministic. RoboTwin's evaluation asks for joint targets
by default (`--additional_info action_type=ee`: endposes, which it plans through cuRobo) and moves to each from rest to
rest, where `aim_rl.evaluate` drives them for 15 physics steps.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tensordict import TensorDict
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from aim_rl.model import AIM
from aim_rl.model.checkpoint import load_checkpoint, tasks_of
from aim_rl.rl.policy import AimPolicy
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
from aim_rl.runs.folder import gpu_or_cpu, one_thread
from envs.errors import UserError, exit_cleanly
from envs.tabletop.robot import joint_targets

MAX_MESSAGE_BYTES = 16 * 2**20  # bytes of a message; an observation of four 480x640 cameras is 4 MB
MAX_TRIALS = 64  # that are under way at the same time


@dataclass
class ServeConfig:
    """Serves a checkpoint to RoboTwin's own evaluation."""

    checkpoint: Path
    """Folder of a run or a checkpoint."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, if not the one that the checkpoint names."""
    host: str = "127.0.0.1"
    """Address to listen on. Nobody is asked for a password: anything but loopback is open to the network."""
    port: int = 19000
    """0 takes a free one."""


@dataclass
class Trial:
    """What is remembered of one evaluation's trial."""

    policy: AimPolicy
    action_type: str = "joint"
    decision: int = 0


class PolicyServer:
    """Answers the requests of any number of evaluations, one at a time.

    A trial belongs to an evaluation and not to its connection: XPolicyLab's client answers no ping while RoboTwin
    simulates, loses its connection over it and goes on with the trial on another one.

    Args:
        model: of the checkpoint.
        tasks: what it was trained for.
    """

    def __init__(self, model: AIM, tasks: list[str]) -> None:
        self.model, self.tasks = model, tasks
        self._trials: dict[Any, Trial] = {}

    def answer(self, frame: bytes | str) -> bytes | None:
        """The answer to a frame; None: the other side wants to close. What goes wrong is an answer, too."""
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
        except Exception as error:  # one bad request must not end an evaluation of hours
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
            self._trials.pop(next(iter(self._trials)))  # the oldest: its evaluation died, and never ends it
        self._trials[name] = Trial(AimPolicy(self.model, self.model.preset.execute), action_type)
        return self._trials[name]

    @torch.no_grad()
    def _act(self, trial: Trial, payload: dict[str, Any]) -> NDArray[np.float32]:
        """The next chunk: joint targets [execute, 14] or endposes [execute, 16]."""
        observation, instruction = read_observation(payload, self.model.preset)
        inputs = {key: torch.from_numpy(np.array(value))[None] for key, value in observation.items()}
        inputs["text"] = self.model.text.tokenize(instruction)[None]
        inputs["decision"] = torch.tensor([[trial.decision]])
        with one_thread():  # as evaluation; in the thread that acts, because torch counts for each of its own
            chunk = trial.policy(TensorDict(inputs, [1]))["action"][0].numpy()
        trial.decision += 1
        if trial.action_type == "ee":
            return chunk
        return joint_targets(observation["qpos"].astype(np.float64), chunk.astype(np.float64)).astype(np.float32)


async def run_server(model: AIM, tasks: list[str], host: str, port: int) -> None:
    """Serves until cancelled; says on stdout where.

    Raises:
        UserError: the address cannot be listened on.
    """
    loop, policy = asyncio.get_running_loop(), PolicyServer(model, tasks)
    with ThreadPoolExecutor(1) as thread:  # one request at a time; the others' pings are answered

        async def handle(connection: ServerConnection) -> None:
            try:
                async for frame in connection:
                    answer = await loop.run_in_executor(thread, policy.answer, frame)
                    if answer is None:
                        return
                    await connection.send(answer)
            except ConnectionClosed:
                pass  # the evaluation died, or sent what is too large

        try:
            # No pings: XPolicyLab's client answers none while RoboTwin simulates.
            server = await serve(handle, host, port, max_size=MAX_MESSAGE_BYTES, compression=None, ping_interval=None)
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port} ({error}); choose another --port or --host") from error
        async with server:
            name, port = server.sockets[0].getsockname()[:2]
            print(f"serving {', '.join(tasks)} on ws://{name}:{port}; Ctrl-C ends it", flush=True)
            await server.serve_forever()


def main() -> None:
    config = tyro.cli(ServeConfig, description=__doc__)
    if not 0 <= config.port < 2**16:
        raise UserError("--port must be in 0 .. 65535")
    model, metadata = load_checkpoint(config.checkpoint, wan=config.wan)
    asyncio.run(run_server(model.to(gpu_or_cpu()), tasks_of(metadata), config.host, config.port))


if __name__ == "__main__":
    exit_cleanly(main)

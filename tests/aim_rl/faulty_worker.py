"""A worker process that goes wrong on request. Apart, because its process imports this file: little else is slow."""

import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

from aim_rl.rollout.worker import send_answer
from envs.errors import UserError


def answer(channel: Connection) -> None:
    """Sends every request back but those that name a fault."""
    while True:
        request: Any = channel.recv()
        if not isinstance(request, str):
            send_answer(channel, request)
            continue
        match request:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "leave":
                os._exit(3)
            case "tear":
                os.write(channel.fileno(), b"\x00\x00\xff\xff half an answer")
                time.sleep(1000)
            case "raise":
                raise FloatingPointError("the simulator observed qpos as NaN or infinity")
            case "refuse":
                raise UserError("install RoboTwin's assets")
            case _:
                send_answer(channel, request)

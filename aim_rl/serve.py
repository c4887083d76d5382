"""Serves a checkpoint to RoboTwin's own evaluation: `python -m aim_rl.serve --checkpoint DIR`.

Answers XPolicyLab's WebSocket protocol until Ctrl-C. In the RoboTwin checkout (branch `main`), run the evaluation by
`bash scripts/eval_policy.sh --policy_name aim_rl --task_name T --task_config demo_clean --host localhost --port 19000`.

Decisions are those of `aim_rl.evaluate`: the same policy, deterministic. RoboTwin's evaluation asks for joint targets
by default (`--additional_info action_type=ee`: endposes, which it plans through cuRobo). It moves from rest to rest
between targets, where `aim_rl.evaluate` drives each for 15 physics steps.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import tyro

from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.model.pretrained import tasks_of
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.serving import PolicyServer, run_server
from aim_rl.runs.folder import gpu_or_cpu
from envs.errors import UserError, exit_cleanly


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Serves a checkpoint to RoboTwin's own evaluation."""

    checkpoint: Path
    """Folder of a run or a checkpoint."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers, if not the one that the checkpoint names."""
    host: str = "127.0.0.1"
    """Address to listen on. There is no password: any address but loopback is open to the network."""
    port: int = 19000
    """Port; 0 takes a free one."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise UserError("--port must be in 0 .. 65535")


def main() -> None:
    config = tyro.cli(ServeConfig, description=__doc__)
    model, metadata = load_checkpoint(config.checkpoint, wan=config.wan)
    model = model.to(gpu_or_cpu())
    server = PolicyServer(model, tasks_of(metadata), lambda: AimPolicy(model, model.preset.execute))
    asyncio.run(run_server(server, config.host, config.port))


if __name__ == "__main__":
    exit_cleanly(main)

"""The value map as a guide, without training: `python -m experiments.guided_sampling --task T --out DIR`.

Every decision draws N chunks from the frozen policy and executes the one whose commanded TCP positions have the highest
response of the predicted map (best of N). N = 1 is the policy as `evaluate` runs it. An N that has a result is not run
again. Writes results.csv and table.md into DIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tensordict import TensorDictBase

import envs
from aim_rl.evaluate import choose_checkpoint
from aim_rl.model import AIM
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.model.waypoints import decode_waypoints
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from aim_rl.rollout.evaluation import run_episodes
from aim_rl.runs.folder import gpu_or_cpu
from aim_rl.runs.statistics import describe, success_rate
from envs.backend import TABLETOP
from envs.errors import UserError, exit_cleanly
from envs.files import read_json, write_json
from experiments.runs import begin, write_csv, write_table
from rewards import tcp_response

CAMERA = ("intrinsic", "extrinsic")


class BestOfN(AimPolicy):
    """Executes, of N chunks, argmax over n of the mean over the executed control steps k of M_t(Π(p_k^n)).

    The first chunk is the one that evaluation executes, denoised from 0. The others start from a·N(0, 1), the same
    draws in every decision, so that the choice does not depend on the rest of the batch.

    Args:
        model: a trained AIM without history.
        execute: control steps executed per decision.
        candidates: N.
        noise_level: a; 1 samples the flow.
    """

    def __init__(self, model: AIM, execute: int, candidates: int, noise_level: float) -> None:
        if model.preset.history:
            raise UserError(
                "guided sampling needs a preset without history, because the history would not record "
                "the executed chunk"
            )
        super().__init__(model, execute)
        self.in_keys = [*self.in_keys, *(f"head_camera_{part}" for part in CAMERA)]  # pyright: ignore[reportAttributeAccessIssue]
        self.candidates, self.guide_noise = candidates, noise_level

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        model, preset, n = self.model, self.model.preset, self.candidates
        flat = super().forward(tensordict).reshape(-1).to(model.device)
        draws = torch.randn(n, preset.n_waypoints, preset.action_dim, generator=torch.Generator().manual_seed(1))
        draws[0] = 0
        start = (self.guide_noise * draws).to(model.device).expand(len(flat), *draws.shape)
        chunks = model.waypoints.denormalise(self.denoise(flat, start)[:, -1])
        actions, commanded_tcp = decode_waypoints(flat["qpos"][:, None].expand(-1, n, -1), chunks, preset.horizon)
        intrinsic, extrinsic = (flat[f"head_camera_{part}"][:, None].expand(-1, n, -1, -1) for part in CAMERA)
        maps = flat["value_map"][:, None].expand(-1, n, *flat["value_map"].shape[1:])
        response = tcp_response(maps, commanded_tcp.to(maps), intrinsic, extrinsic, preset.head_size)[
            ..., : self.execute
        ]
        best = torch.arange(len(flat), device=model.device), response.mean(-1).argmax(1)
        chosen = {"action": actions[best][:, : self.execute].float(), "commanded_tcp": commanded_tcp[best].float()}
        return tensordict.update(
            {key: value.reshape(*tensordict.shape, *value.shape[1:]) for key, value in chosen.items()}
        )


@dataclass
class GuidedConfig:
    """Best of N by the value map's response, without training."""

    task: str
    """RoboTwin's task name."""
    out: Path
    """Folder of the results."""
    checkpoint: Path | None = None
    """Stage I run or checkpoint; the shipped one by default."""
    wan: Path | None = None
    """Folder of Wan-AI/Wan2.2-TI2V-5B-Diffusers; by default the one that the checkpoint names."""
    candidates: tuple[int, ...] = (1, 4, 16)
    """Values of N."""
    noise_level: float = 1.0
    """Spread of the candidates' initial noise; 1 samples the flow."""
    episodes: int = 100
    """Held-out episodes."""
    workers: int = 2
    """Processes."""


def main() -> None:
    config = tyro.cli(GuidedConfig, description=__doc__)
    task = envs.resolve_task(config.task)
    TABLETOP.require(task, "clean")
    if min(*config.candidates, config.episodes, config.workers) < 1:
        raise UserError("--candidates, --episodes and --workers must be at least 1")
    model = load_checkpoint(choose_checkpoint(task, config.checkpoint), task, config.wan)[0].to(gpu_or_cpu())
    begin(task, config.out, config, "candidates", "workers")
    results = []
    for candidates in config.candidates:
        file = config.out / f"best_of_{candidates}.json"
        if not file.exists():
            policy = BestOfN(model, model.preset.execute, candidates, config.noise_level)
            outcome = run_episodes(
                policy,
                task=task,
                setting="clean",
                first_seed=seeds.TEST,
                episodes=config.episodes,
                workers=config.workers,
                title=f"best of {candidates}",
            )
            write_json(file, {**success_rate(sum(outcome.values()), len(outcome))})
        results.append({"candidates": candidates, **read_json(file)})
    write_csv(config.out / "results.csv", results)
    rows = [[one["candidates"], describe(one)] for one in results]
    write_table(config.out / "table.md", ["candidates", "success (Wilson 95 %)"], rows)


if __name__ == "__main__":
    exit_cleanly(main)

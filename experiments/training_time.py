"""Times one Stage I step and compares it with the machine's floor: `python -m experiments.training_time`.

Random weights and chunks, no download: random latents and embeddings replace Wan's VAE and UMT5, which a real step also
runs. On an NVIDIA GPU, weights, gradients and AdamW are in bfloat16, so that the full size fits on one 80 GB GPU
(`pretrain` shards them and an average in float32); else float32. The floor is as in `decision_time`: the FLOPs of
forward and backward pass without recomputation, or the bytes of weights (read twice), gradients (written once) and
AdamW (four numbers read and three written per weight).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from aim_rl.model import AIM, Preset
from aim_rl.model.compiling import check_compiler, compile_blocks
from aim_rl.model.presets import preset_named
from aim_rl.model.tokenizer import PixelTokenizer
from aim_rl.runs.processes import Processes
from aim_rl.supervised.config import ALL_TASKS, PretrainConfig
from aim_rl.supervised.trainer import accumulate_gradients
from envs.constants import CAMERAS
from envs.errors import exit_cleanly
from experiments.decision_time import measure_machine, seconds


@dataclass
class TrainingTimeConfig:
    """Times one training step of a preset."""

    preset: str = "wan2.2-5b"
    """tiny, small or wan2.2-5b."""
    batch_size: int = 1
    """Chunks per step."""
    recompute: bool = True
    """Gradient checkpointing."""
    compile: bool = False
    """torch.compile of the blocks; needs a C++ compiler."""
    repeats: int = 5
    """Timed steps, after two warm-up steps."""


class RandomChunks:
    """Replaces demonstrations and the model's pretrained parts by noise of their shapes and dtypes."""

    def __init__(self, model: AIM) -> None:
        self.preset = model.preset
        weight = model.x.head.weight
        self._like: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
        if not isinstance(model.tokenizer, PixelTokenizer):
            model.tokenizer = self  # pyright: ignore[reportAttributeAccessIssue]
            model.text = self._text  # pyright: ignore[reportAttributeAccessIssue]

    def batch(self, size: int) -> dict[str, Tensor]:
        """As `DemonstrationSet.batch`, of `size` chunks."""
        preset, past = self.preset, (self.preset.history,) if self.preset.history else ()
        sizes = (preset.head_size, preset.wrist_size, preset.wrist_size)

        def normal(*shape: int) -> Tensor:
            return torch.randn(size, *shape, **self._like)

        def picture(*shape: int) -> Tensor:
            return torch.zeros(size, *shape, dtype=torch.uint8, device=self._like["device"])

        batch = {name: picture(*size, 3) for name, size in zip(CAMERAS, sizes, strict=True)}
        batch |= {"qpos": normal(14), "qpos_measured": normal(14)}
        batch |= {f"{arm}_endpose": normal(7) for arm in ("left", "right")}
        batch["text"] = torch.zeros(size, preset.text_length, dtype=torch.long, device=self._like["device"])
        batch["future_rgb"] = batch["future_maps"] = normal(preset.frames, 3, *preset.canvas)
        batch["waypoints"] = normal(preset.n_waypoints, preset.action_dim)
        if past:
            batch |= {f"past_{name}": picture(*past, *size, 3) for name, size in zip(CAMERAS, sizes, strict=True)}
            batch["past_waypoints"] = normal(*past, preset.n_past, preset.action_dim)
            batch["past_happened"] = picture(*past) == 0
        return batch

    def encode_now(self, cameras: list[Tensor]) -> Tensor:
        return self._latents(len(cameras[0]), 1)

    def encode(self, video: Tensor, before: list[Tensor] | None) -> Tensor:
        return self._latents(len(video), self.preset.frames // self.preset.temporal_stride)

    def heights(self, maps: Tensor) -> Tensor:
        return self.encode(maps, None).sigmoid()

    def _latents(self, batch: int, frames: int) -> Tensor:
        rows, cols = (side // self.preset.spatial_stride for side in self.preset.canvas)
        return torch.randn(batch, frames, self.preset.latent_channels, rows, cols, **self._like)

    def _text(self, ids: Tensor) -> Tensor:
        return torch.randn(*ids.shape, self.preset.text_dim, **self._like)


def training_flops(preset: Preset, batch_size: int) -> int:
    """FLOPs of one forward and backward pass, counted on the meta device."""
    with torch.device("meta"):
        model = AIM(preset)
        batch = RandomChunks(model).batch(batch_size)
        with FlopCounterMode(display=False) as counter:
            model.loss(batch)["loss"].backward()
    return counter.get_total_flops()


def training_time(config: TrainingTimeConfig) -> str:
    """One line: milliseconds of a step and of its floors, and GPU memory."""
    preset = preset_named(config.preset)
    if config.compile:
        check_compiler()
    flops = training_flops(preset, config.batch_size)
    machine = measure_machine(config.repeats)
    cuda = machine.device.type == "cuda"
    with machine.device:
        model = AIM(preset).to(machine.dtype)
    model.recompute = config.recompute
    if config.compile:
        compile_blocks(model)
    chunks = RandomChunks(model)
    batches = (chunks.batch(config.batch_size) for _ in itertools.count())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)
    recipe = PretrainConfig(task=ALL_TASKS, data=Path(), batch_size=config.batch_size, bf16=cuda)
    here = Processes(0, 1, machine.device)

    def step() -> None:
        optimizer.zero_grad()
        accumulate_gradients(model, batches, recipe, here)
        optimizer.step()

    taken = seconds(step, machine.device, config.repeats)
    weights = machine.dtype.itemsize * sum(p.numel() for p in model.parameters())
    by_flops, by_bytes = flops / machine.flops, 10 * weights / machine.bytes
    how = [name for name in ("recompute", "compile") if getattr(config, name)]
    line = (
        f"{config.preset}, batch {config.batch_size} {' '.join(how)} on {machine.name}, {machine.dtype}: step "
        f"{1000 * taken:.2f} ms, floor {1000 * max(by_flops, by_bytes):.2f} ms (by FLOPs {1000 * by_flops:.2f}, "
        f"by bytes {1000 * by_bytes:.2f})"
    )
    return line + (f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if cuda else "")


def main() -> None:
    print(training_time(tyro.cli(TrainingTimeConfig, description=__doc__)))


if __name__ == "__main__":
    exit_cleanly(main)

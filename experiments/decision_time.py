"""Times one decision and compares it with the machine's floor: `python -m experiments.decision_time`.

Random weights, batch 1, in bfloat16 on an NVIDIA GPU if there is one, else in float32 on the CPU. World steps and
action steps have a floor each, the larger of two times: their FLOPs at the rate of a large matrix product, and the
bytes of their weights and context at the rate of a large copy. Both rates are measured here. The VAE, UMT5 and the
simulator are excluded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import tyro
from torch import Tensor

from aim_rl.model import AIM, PROPRIO_DIM, WorldContext, sample_chain
from aim_rl.model.__main__ import action_flops, context_tokens, world_flops
from aim_rl.model.aim import Observed
from aim_rl.model.compiling import check_compiler, compile_blocks
from aim_rl.model.history import History, empty_history
from aim_rl.model.presets import preset_named
from aim_rl.model.visibility import READS_TEXT
from aim_rl.runs.folder import gpu_or_cpu
from envs.errors import exit_cleanly


@dataclass
class DecisionTimeConfig:
    """Times one decision of a preset."""

    preset: str = "wan2.2-5b"
    """tiny, small or wan2.2-5b; the full size needs 24 GB of GPU memory while it is built."""
    repeats: int = 20
    compile: bool = False
    """torch.compile of the blocks; needs a C++ compiler."""


@dataclass
class Machine:
    """The device and its measured rates."""

    device: torch.device
    dtype: torch.dtype
    flops: float  # per second, of a large matrix product
    bytes: float  # per second, read or written by a large copy

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"


def seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of `run`, after two warm-up calls."""
    found = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return median(found[2:])


def measure_machine(repeats: int) -> Machine:
    device = gpu_or_cpu()
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    side, count = (8192, 2**30) if cuda else (512, 2**24)
    a = torch.randn(side, side, device=device, dtype=dtype)
    source = torch.zeros(count, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    product, copy = seconds(lambda: a @ a, device, repeats), seconds(lambda: target.copy_(source), device, repeats)
    return Machine(device, dtype, 2 * side**3 / product, 2 * count / copy)


class Decision:
    """Random inputs of one decision, and its two halves: world steps and action steps."""

    def __init__(self, model: AIM, machine: Machine) -> None:
        preset, self.model = model.preset, model

        def normal(*shape: int) -> Tensor:
            return torch.randn(1, *shape, device=machine.device, dtype=machine.dtype)

        self.text = {name: normal(preset.text_length, preset.text_dim) for name in READS_TEXT}
        self.tokens = normal(preset.n_obs, preset.width_x)
        self.keypoints, self.still = normal(9 * preset.keypoints), torch.zeros_like(normal(1, 1))
        self.x, self.m = normal(preset.n_future, preset.token_dim), normal(preset.n_future, preset.token_dim)
        self.proprio, self.waypoints = normal(PROPRIO_DIM), normal(preset.n_waypoints, preset.action_dim)
        self.history: History | None = None
        if preset.history:
            empty = empty_history(preset, 1, self.x)
            self.history = empty._replace(filled=torch.ones_like(empty.filled))

    def world(self) -> WorldContext:
        read = {name: self.model.get_submodule(name).read_text(text) for name, text in self.text.items()}  # pyright: ignore
        observed = Observed(self.tokens, self.keypoints, read, self.still)
        return self.model.denoise_world(observed, self.x, self.m, self.history)[2]

    def action(self, context: WorldContext) -> Tensor:
        preset = self.model.preset
        return sample_chain(
            lambda waypoints, t: self.model.action_velocity(context, self.proprio, waypoints, t),
            self.waypoints,
            preset.action_steps,
            shift=preset.shift_action,
        )


@torch.no_grad()
def decision_time(config: DecisionTimeConfig) -> str:
    """Markdown table, in milliseconds."""
    preset = preset_named(config.preset)
    if config.compile:
        check_compiler()
    with torch.device("meta"):
        shapes = AIM(preset)
        flops = {"world": world_flops(shapes), "action": action_flops(shapes)}
    machine = measure_machine(config.repeats)
    with machine.device:
        model = AIM(preset).to(machine.dtype).eval()
    if config.compile:
        compile_blocks(model)
    decision = Decision(model, machine)
    context = decision.world()
    size = machine.dtype.itemsize
    weights = {name: size * sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    kept = size * preset.depth * 2 * preset.heads * context_tokens(model) * preset.head_dim
    moved = {
        "world": preset.world_steps * (weights["x"] + weights["m"]),
        "action": preset.action_steps * (weights["action"] + kept),
    }
    taken = {
        "world": seconds(decision.world, machine.device, config.repeats),
        "action": seconds(lambda: decision.action(context), machine.device, config.repeats),
    }
    compiled = " compiled" if config.compile else ""
    lines = [
        f"{config.preset}{compiled} on {machine.name}, {machine.dtype}: {machine.flops / 1e12:.2f} TFLOP/s, "
        f"{machine.bytes / 1e9:.1f} GB/s measured",
        "",
        "| part | measured ms | floor ms | by FLOPs ms | by bytes ms |",
        "|---|---|---|---|---|",
    ]
    for part in taken:
        by_flops, by_bytes = flops[part] / machine.flops, moved[part] / machine.bytes
        row = (taken[part], max(by_flops, by_bytes), by_flops, by_bytes)
        lines.append(f"| {part} | " + " | ".join(f"{1000 * value:.2f}" for value in row) + " |")
    return "\n".join(lines)


def main() -> None:
    print(decision_time(tyro.cli(DecisionTimeConfig, description=__doc__)))


if __name__ == "__main__":
    exit_cleanly(main)

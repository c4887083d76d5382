"""Prints the tables of docs/model.md, who reads whom and the presets' sizes and cost: `python -m aim_rl.model`.

Counts are taken on the meta device, without weights, by PyTorch's FLOP counter: a multiply-add is two operations. The
VAE and UMT5 are not counted: once per decision the VAE encodes the current images and decodes the value maps, and UMT5
encodes each instruction once.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from aim_rl.model.aim import AIM, Observed, WorldContext
from aim_rl.model.history import empty_history
from aim_rl.model.normaliser import PROPRIO_DIM
from aim_rl.model.presets import PRESETS, Preset
from aim_rl.model.visibility import READS_TEXT, TOKEN_KINDS, VISIBLE
from envs.constants import CAMERAS


def sizes(preset: Preset) -> dict[str, str]:
    """The column of one preset: row title -> text."""
    with torch.device("meta"):
        model = AIM(preset)
        world, action = world_flops(model), action_flops(model)
    n_obs, n_future = preset.n_obs, preset.n_future
    context = context_tokens(model)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return {
        "head, wrist image (px)": f"{preset.head_size}, {preset.wrist_size}",
        "canvas (px)": f"{preset.canvas}",
        "token grid x token frames": f"{preset.grid} x {preset.times}",
        "tokens: observation, future RGB, map, waypoints": f"{n_obs}, {n_future}, {n_future}, {preset.n_waypoints}",
        "numbers per token": f"{preset.token_dim}",
        "instruction: word pieces x numbers": f"{preset.text_length} x {preset.text_dim}",
        "depth, heads x size": f"{preset.depth}, {preset.heads} x {preset.head_dim}",
        "width x / m / a": f"{preset.width_x} / {preset.width_m} / {preset.width_a}",
        "control steps: chunk, executed": f"{preset.horizon}, {preset.execute}",
        "denoising steps: world, action": f"{preset.world_steps}, {preset.action_steps}",
        "parameters x / m / a": " / ".join(f"{count[name]:,}" for name in ("x", "m", "action")),
        "FLOPs per decision: world, action": f"{world:.3g}, {action:.3g}",
        "decisions remembered, tokens of each": f"{preset.history}, {n_obs + preset.n_past if preset.history else 0}",
        "context kept per decision": f"[{preset.depth}, 2, {preset.heads}, {context}, {preset.head_dim}]",
    }


def world_flops(model: AIM) -> int:
    """FLOPs of one decision's observation, instruction and world steps, and of adding it to the history."""
    preset = model.preset
    tokens = torch.empty(1, preset.n_future, preset.token_dim)
    history = empty_history(preset, 1, tokens) if preset.history else None
    with torch.no_grad():
        with FlopCounterMode(display=False) as once:
            text = {name: model.get_submodule(name).read_text(_text(preset)) for name in READS_TEXT}  # pyright: ignore
            if model.stem is None:
                tokens_now = model.x.embed(torch.empty(1, preset.n_obs, preset.token_dim))
                observed = Observed(tokens_now, torch.empty(1, 0), text, torch.zeros(1, 1, 1))
            else:
                shapes = (preset.head_size, preset.wrist_size, preset.wrist_size)
                images = [torch.empty(1, *shape, 3, dtype=torch.uint8) for shape in shapes]
                observed = model.observe(dict(zip(CAMERAS, images, strict=True)), None)._replace(text=text)
        with FlopCounterMode(display=False) as step:
            *_, context = model.encode_world(observed, tokens, tokens, torch.empty(1), history)
        with FlopCounterMode(display=False) as after:
            if history is not None:
                commanded = torch.empty(1, preset.n_past, preset.action_dim)
                model.remember(history, model.observation_kv(context), commanded)
    return once.get_total_flops() + preset.world_steps * step.get_total_flops() + after.get_total_flops()


def _text(preset: Preset) -> torch.Tensor:
    return torch.empty(1, preset.text_length, preset.text_dim)


def action_flops(model: AIM) -> int:
    """FLOPs of all denoising steps of the action chunk."""
    preset = model.preset
    kv = torch.empty(1, preset.depth, 2, preset.heads, context_tokens(model), preset.head_dim)
    context = WorldContext(kv, torch.empty(1, 9 * preset.keypoints))
    waypoints = torch.empty(1, preset.n_waypoints, preset.action_dim)
    with torch.no_grad(), FlopCounterMode(display=False) as step:
        model.action_velocity(context, torch.empty(1, PROPRIO_DIM), waypoints, torch.empty(1))
    return preset.action_steps * step.get_total_flops()


def context_tokens(model: AIM) -> int:
    """Number of tokens that actions read, by the model's visibility table."""
    preset, reads = model.preset, model.visibility["a"]
    past = {"past_obs": preset.n_obs, "past_act": preset.n_past}
    now = {"obs": preset.n_obs, "x": preset.n_future, "m": preset.n_future}
    counts = {name: preset.history * n for name, n in past.items()} | now
    return sum(n for name, n in counts.items() if name in reads)


def sizes_table() -> str:
    """Markdown: a row per quantity, a column per preset."""
    columns = {name: sizes(preset) for name, preset in PRESETS.items()}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {row} | " + " | ".join(c[row] for c in columns.values()) + " |" for row in next(iter(columns.values()))
    ]
    return "\n".join(lines)


def visibility_table() -> str:
    """Markdown: a row per query, a column per key; past_* belong to earlier decisions."""
    lines = ["| query | " + " | ".join(TOKEN_KINDS) + " | instruction |", "|---" * (len(TOKEN_KINDS) + 2) + "|"]
    for query in TOKEN_KINDS:
        reads = ["yes" if key in VISIBLE[query] else "" for key in TOKEN_KINDS]
        reads.append("yes" if query in READS_TEXT else "")
        lines.append(f"| {query} | " + " | ".join(reads) + " |")
    return "\n".join(lines)


def main() -> None:
    print(f"{visibility_table()}\n\n{sizes_table()}")


if __name__ == "__main__":
    main()

"""The table of sizes: what it counts agrees with a count by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from aim_rl.model import AIM, PRESETS
from aim_rl.model.__main__ import action_flops, sizes_table, visibility_table, world_flops


def test_flops_are_two_per_weight_and_token_plus_attention() -> None:
    preset = replace(PRESETS["wan2.2-5b"], depth=2)
    with torch.device("meta"):
        model = AIM(preset)
        world, action = world_flops(model), action_flops(model)
    inner, depth = preset.heads * preset.head_dim, preset.depth
    now, future = preset.n_obs, preset.n_future

    def block(width: int, hidden: int) -> int:
        return 4 * width * inner + 2 * width * hidden

    weights = depth * ((now + future) * block(3072, 14336) + future * 2 * 3072 * inner)
    weights -= now * (3072 * inner + 2 * 3072 * 14336)  # of the observation, the last block gives keys and values only
    weights += depth * future * block(preset.width_m, preset.ffn_m)
    past = preset.history * (now + preset.n_past)
    queries = now + 2 * future
    attention = depth * 2 * (queries * (queries + past) + future * preset.text_length) * inner
    text = depth * preset.text_length * 2 * 3072 * inner  # its keys and values, once
    by_hand = 2 * (preset.world_steps * (weights + attention) + text)
    assert by_hand < world < 1.1 * by_hand  # the rest: times, text, embeddings
    waypoints = preset.n_waypoints * depth * block(preset.width_a, preset.ffn_a)
    context = preset.history * preset.n_past + now + future  # past actions, the observation and the maps
    waypoints += depth * 2 * preset.n_waypoints * (context + preset.n_waypoints) * inner
    by_hand = 2 * preset.action_steps * waypoints
    assert by_hand < action < 1.1 * by_hand


def test_the_documentation_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parents[3] / "docs" / "model.md").read_text()
    assert visibility_table() in page
    assert sizes_table() in page

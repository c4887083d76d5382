"""A tiny model, deep enough for the leak tests, and a batch of random observations."""

from dataclasses import replace

import pytest
import torch

from aim_rl.model import AIM, PRESETS, Preset, tokenize


def randomised(preset: Preset, **options) -> AIM:
    """A model whose every weight is random, so that no zero-initialised layer hides a path."""
    torch.manual_seed(0)
    model = AIM(preset, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model


def observation(preset: Preset, batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def image(height: int, width: int) -> torch.Tensor:
        return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, generator=generator)

    return {
        "head_camera": image(*preset.head_size),
        "left_camera": image(*preset.wrist_size),
        "right_camera": image(*preset.wrist_size),
        "qpos": normal(14),
        "qpos_measured": normal(14),
        "left_endpose": torch.cat([normal(3), torch.nn.functional.normalize(normal(4), dim=-1)], -1),
        "right_endpose": torch.cat([normal(3), torch.nn.functional.normalize(normal(4), dim=-1)], -1),
    }


def training_batch(preset: Preset, batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = (batch, preset.frames, 3, *preset.canvas)
    colour = torch.randint(0, 256, (batch, 1, 3, 1, 1), dtype=torch.uint8, generator=generator)
    maps = torch.zeros(shape)
    maps[..., 2:6, 2:6] = 1
    return observation(preset, batch) | {
        "text": tokenize("stack the red block on the green block", preset).expand(batch, -1),
        "future_rgb": colour.expand(shape),
        "future_maps": maps,
        "waypoints": torch.randn(batch, preset.n_waypoints, preset.action_dim, generator=generator),
    }


@pytest.fixture
def tiny() -> Preset:
    return PRESETS["tiny"]


WANS = {  # what sets the full size apart, but for the pretrained parts
    "stem_channels": 0,
    "keypoints": 0,
    "temporal_patch": 1,
    "data_rms": None,
    "learned_positions": False,
}


@pytest.fixture(params=[{}, WANS], ids=["stem", "as Wan"])
def deep(tiny: Preset, request: pytest.FixtureRequest) -> Preset:
    """Four layers: leaks through the observation need more than one."""
    return replace(tiny, depth=4, **request.param)

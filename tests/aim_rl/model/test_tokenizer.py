"""Canvas, patches, stem order and words."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from aim_rl.model import PRESETS, Preset, cut, pack, paste, patchify, tokenize, unpatchify
from aim_rl.model.stem import ObservationStem

from .conftest import observation


def test_patchify_round_trip(tiny: Preset) -> None:
    for preset in (tiny, PRESETS["small"], replace(tiny, frames=4)):
        video = torch.randn(2, preset.frames, 3, *preset.canvas)
        tokens = patchify(video, preset)
        assert tokens.shape == (2, preset.n_future, preset.token_dim)
        assert torch.equal(unpatchify(tokens, preset), video)


def test_small_preset_is_the_contracts() -> None:
    small = PRESETS["small"]
    assert small.canvas == (80, 64)
    assert small.grid == (5, 4)
    assert (small.n_obs, small.n_future, small.token_dim, small.n_waypoints) == (23, 20, 1536, 4)


def test_a_token_belongs_to_one_camera(tiny: Preset) -> None:
    """Paint one camera and see which tokens change: its own, no others."""
    black = [torch.zeros(1, 2, *size, 3, dtype=torch.uint8) for size in (tiny.head_size, *[tiny.wrist_size] * 2)]
    owners = []
    for camera in range(3):
        painted = list(black)
        painted[camera] = torch.full_like(black[camera], 255)
        owners.append(patchify(pack(*painted, tiny), tiny).mean(-1)[0])
    assert set(torch.stack(owners).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(sum(owners), torch.ones(tiny.n_future))


def test_observation_tokens_lie_on_the_same_grid_as_the_canvas(tiny: Preset) -> None:
    torch.manual_seed(0)
    stem, obs = ObservationStem(tiny), observation(tiny, 1)
    cameras = [obs["head_camera"], obs["left_camera"], obs["right_camera"]]
    canvas_tokens = patchify(pack(*(c[:, None] for c in cameras), tiny).repeat(1, 2, 1, 1, 1), tiny)
    reference = stem(*cameras)[0][0]
    for camera, (row, col) in ((0, (40, 8)), (1, (4, 20)), (2, (28, 4))):
        touched = [c.clone() for c in cameras]
        touched[camera][:, row, col] ^= 128
        canvas = patchify(pack(*(c[:, None] for c in touched), tiny).repeat(1, 2, 1, 1, 1), tiny)
        here = (canvas - canvas_tokens).abs().sum(-1)[0].argmax()
        change = (stem(*touched)[0][0] - reference).abs().sum(-1)
        assert change[:-3].argmax() == here
        assert change[-3:].argmax() == camera


def test_pack_averages_areas_and_cut_undoes_paste(tiny: Preset) -> None:
    head = torch.zeros(1, *tiny.head_size, 3, dtype=torch.uint8)
    head[0, 0, 0, 1] = 255
    wrist = torch.zeros(1, *tiny.wrist_size, 3, dtype=torch.uint8)
    canvas = pack(head, wrist, wrist, tiny)
    assert canvas.shape == (1, 3, *tiny.canvas)
    assert canvas[0, 1, 0, 0] == 0.25 and canvas.sum() == 0.25
    tiles = cut(canvas, tiny)
    assert torch.equal(paste(*tiles), canvas)
    assert tiles[0].shape[-2:] == tiny.head_tile and tiles[2].shape[-2:] == tiny.wrist_tile


def test_a_preset_whose_patches_straddle_a_seam_is_refused(tiny: Preset) -> None:
    with pytest.raises(ValueError, match="seam"):
        replace(tiny, wrist_size=(24, 32))
    with pytest.raises(ValueError, match="wide"):
        replace(tiny, wrist_size=(32, 48))


def test_words_keep_their_ids_in_every_process() -> None:
    code = (
        "from aim_rl.model import PRESETS, tokenize;"
        "print(tokenize('Stack the RED block, on the green-block!', PRESETS['small']).tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    preset = PRESETS["small"]
    assert tokenize("stack the red block on the green block", preset).tolist() == json.loads(outputs.pop())


def test_long_instructions_are_cut_and_short_ones_padded(tiny: Preset) -> None:
    ids = tokenize("word " * 100, tiny)
    assert ids.shape == (tiny.text_length,) and (ids > 0).all()
    assert tokenize("word", tiny).tolist()[1:] == [0] * (tiny.text_length - 1)

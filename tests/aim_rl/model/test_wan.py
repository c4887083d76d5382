"""Wan2.2 in our streams: the same numbers as diffusers, from its own files."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from aim_rl.model import AIM, PRESETS, load_wan, patchify, proprio, tokenize, unpatchify, wan
from aim_rl.model.rotary import chunk_positions, rotation
from aim_rl.model.streams import Segment, Stream, mixture
from aim_rl.model.wan import WanText, WanTokenizer
from aim_rl.model.wan_weights import FILE, narrow
from aim_rl.rl.policy import AimPolicy
from envs.errors import UserError

from ..pretend_gpu import CUDA, PretendedGpu
from . import wan_files
from .conftest import observation, training_batch
from .wan_files import TOY


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wan_files.save(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def loaded(directory: Path) -> AIM:
    return load_wan(directory, TOY).eval()


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    """The directory, to be spoiled."""
    return Path(shutil.copytree(directory, tmp_path / "wan"))


def wan_tokenizer(model: AIM) -> WanTokenizer:
    assert isinstance(model.tokenizer, WanTokenizer)
    return model.tokenizer


def instructions(model: AIM, *texts: str) -> Tensor:
    assert isinstance(model.text, WanText)
    return torch.stack([model.text.tokenize(text) for text in texts])


def toy_batch(model: AIM, *texts: str) -> dict[str, Tensor]:
    return training_batch(replace(TOY, text="words"), len(texts)) | {"text": instructions(model, *texts)}


def wan_inputs() -> tuple[Tensor, Tensor]:
    """Latents [2, 3, C, h, w] of an observation and two future frames, and text [2, L, text_dim]."""
    generator = torch.Generator().manual_seed(6)
    rows, cols = TOY.grid[0] * TOY.patch, TOY.grid[1] * TOY.patch
    latents = torch.randn(2, 3, TOY.latent_channels, rows, cols, generator=generator)
    return latents, torch.randn(2, TOY.text_length, TOY.text_dim, generator=generator)


def video_segments(stream: Stream, latents: Tensor, text: Tensor, t: Tensor, sizes: list[int]) -> list[Segment]:
    """The video stream's tokens, with times [B, 1, n or 1], cut into segments of the given sizes."""
    places = chunk_positions(TOY)
    turn = rotation(torch.cat([places["obs"], places["x"]]), TOY.heads, TOY.head_dim).to(torch.complex64)
    parts = zip(
        stream.embed(patchify(latents, TOY))[:, None].split(sizes, 2),
        t.expand(-1, -1, sum(sizes)).split(sizes, 2),
        turn.split(sizes),
        strict=True,
    )
    read = stream.read_text(text)
    return [Segment("x", stream, h, stream.condition(times), part, read) for h, times, part in parts]


@pytest.mark.parametrize("times", ["scalar", "per token"])
@pytest.mark.parametrize("split", [False, True])
@torch.no_grad()
def test_the_video_stream_alone_is_wan(loaded: AIM, times: str, split: bool) -> None:
    """The observation as a segment of its own changes nothing, as long as all tokens read each other."""
    latents, text = wan_inputs()
    tokens = TOY.grid[0] * TOY.grid[1]
    t = torch.tensor([0.3, 0.9])[:, None, None]
    if times == "per token":
        t = torch.cat([torch.zeros(2, 1, tokens), t.expand(-1, -1, 2 * tokens)], -1)
    timestep = 1000 * (t[:, 0, 0] if times == "scalar" else t[:, 0])
    expected = wan_files.transformer()(latents.transpose(1, 2), timestep, text).sample.transpose(1, 2)

    segments = video_segments(loaded.x, latents, text, t, [tokens, 2 * tokens] if split else [3 * tokens])
    mixture(segments, None)
    output = unpatchify(torch.cat([segment.read_out()[:, 0] for segment in segments], 1), TOY)
    assert expected.abs().max() > 1
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_shards_make_no_difference(loaded: AIM, tmp_path: Path) -> None:
    sharded = wan_files.save(tmp_path, "60KB")
    assert all(len(list((sharded / part).glob("*.safetensors"))) > 2 for part in ("transformer", "vae"))
    spoil_json(sharded / "vae/config.json", clip_output=False)  # the real file has it, diffusers' class does not
    again = load_wan(sharded, TOY)
    for name, parameter in again.x.named_parameters():
        assert torch.equal(parameter, loaded.x.get_parameter(name)), name
    latents, _ = wan_inputs()
    assert torch.equal(wan_tokenizer(again).to_video(latents), wan_tokenizer(loaded).to_video(latents))


@pytest.mark.parametrize("wrist", [0, 1])
@torch.no_grad()
def test_a_wrist_picture_changes_only_its_own_latents(loaded: AIM, wrist: int) -> None:
    cameras = [observation(TOY, 1)[f"{side}_camera"] for side in ("head", "left", "right")]
    before = wan_tokenizer(loaded).encode_now(cameras)
    cameras[1 + wrist] = 255 - cameras[1 + wrist]
    changed = (wan_tokenizer(loaded).encode_now(cameras) != before).any(2)[0, 0]
    rows, cols = TOY.head_tile[0] // 16, TOY.wrist_tile[1] // 16
    own = torch.zeros_like(changed)
    own[rows:, wrist * cols : (wrist + 1) * cols] = True
    assert torch.equal(changed, own)


@torch.no_grad()
def test_latents_are_the_vaes_normalised_mode_camera_by_camera(loaded: AIM) -> None:
    video = torch.rand(1, 5, 3, *TOY.canvas, generator=torch.Generator().manual_seed(7)) * 2 - 1
    model = wan_files.vae()
    mode = model.encode(video[..., : TOY.head_tile[0], :].transpose(1, 2)).latent_dist.mode()
    mean, std = (
        torch.tensor(model.config[name])[None, :, None, None, None] for name in ("latents_mean", "latents_std")
    )
    tokenizer = wan_tokenizer(loaded)
    latents = tokenizer.to_latents(video)
    assert latents.shape == (1, 2, TOY.latent_channels, 6, 8)
    head = ((mode - mean) / std).transpose(1, 2)
    torch.testing.assert_close(latents[..., :4, :], head)
    again = tokenizer.to_video(latents)[..., :64, :]
    torch.testing.assert_close(again, model.decode(mode).sample.transpose(1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokenizer.to_latents(video[:, :1]), latents[:, :1], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="4k \\+ 1"):
        tokenizer.to_latents(video[:, :4])


@torch.no_grad()
def test_a_chunk_is_coded_behind_the_frame_before_it(loaded: AIM) -> None:
    tokenizer, batch = wan_tokenizer(loaded), toy_batch(loaded, "ring the bell")
    cameras = [batch[f"{side}_camera"] for side in ("head", "left", "right")]
    video = batch["future_rgb"].float() / 127.5 - 1
    latents = tokenizer.encode(video, cameras)
    assert latents.shape[1] == TOY.times == 2
    assert not torch.allclose(latents, tokenizer.encode(video, None))
    whole = torch.cat([tokenizer.encode_now(cameras), latents], 1)
    torch.testing.assert_close(tokenizer.decode(latents, cameras), tokenizer.to_video(whole)[:, 1:])
    empty = tokenizer.to_latents(torch.full_like(video[:, :1], -1.0))
    behind_nothing = tokenizer.to_video(torch.cat([empty, latents], 1))[:, 1:]
    torch.testing.assert_close(tokenizer.decode(latents, None), behind_nothing)


def test_heights_are_the_peaks_of_the_map_in_each_cell(loaded: AIM) -> None:
    maps = torch.full((1, 8, 3, *TOY.canvas), -1.0)
    maps[0, 5, 1, 40, 100] = 0.5
    heights = wan_tokenizer(loaded).heights(maps)
    expected = torch.zeros(1, 2, TOY.latent_channels, 6, 8)
    expected[0, 1, :, 2, 6] = 0.75
    assert torch.equal(heights, expected)


@torch.no_grad()
def test_text_is_umt5s_with_zeros_behind_the_last_word(loaded: AIM) -> None:
    ids = instructions(loaded, "ring the bell", "stack the red block on  the green block", "ring the bell")
    assert ids[0, 3] == 1 and not ids[0, 4:].any()
    encoded = loaded.text(ids)
    assert encoded.shape == (3, TOY.text_length, TOY.text_dim)
    expected = wan_files.text_encoder()(ids, (ids > 0).long()).last_hidden_state * (ids > 0)[..., None]
    torch.testing.assert_close(encoded, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(loaded.text(ids[2:]), encoded[2:])


@torch.no_grad()
def test_a_decision_encodes_its_pictures_decodes_its_maps_and_nothing_else(
    loaded: AIM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wan's VAE and UMT5 are slow: what nobody reads, or is known already, costs nothing."""
    policy, calls = AimPolicy(deepcopy(loaded), TOY.execute), Counter[str]()
    assert isinstance(loaded.text, WanText)
    monkeypatch.setattr(wan, "MAX_INSTRUCTIONS", 1)
    monkeypatch.setattr(loaded.text, "_known", {})

    def count(part: Any, name: str) -> None:
        method = getattr(part, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return method(*arguments, **options)

        monkeypatch.setattr(part, name, counted)

    def decide(text: str) -> Counter[str]:
        calls.clear()
        policy(TensorDict({**toy_batch(loaded, text)}, [1]))
        return Counter(calls)

    for part, name in ((wan_tokenizer(loaded).model, "encode"), (wan_tokenizer(loaded).model, "decode")):
        count(part, name)
    count(loaded.text.model, "forward")
    decide("stack the ring")  # the empty map, once for all
    cameras = 2  # head; both wrists at once
    assert decide("stack the ring") == {"encode": cameras, "decode": cameras}
    assert decide("stack the bell") == {"encode": cameras, "decode": cameras, "forward": 1}
    assert decide("stack the ring")["forward"] == 1  # forgotten: no more than so many are kept


def test_the_model_imagines_acts_and_learns(loaded: AIM) -> None:
    batch = toy_batch(loaded, "ring the bell", "stack the red block")
    with torch.no_grad():
        x, m, context = loaded.imagine(batch, batch["text"])
        rgb, maps = loaded.decode_rgb(x, batch), loaded.decode_maps(m)
    assert rgb.shape == maps.shape == (2, 8, 3, *TOY.canvas)
    assert context.kv.shape == (2, TOY.depth, 2, TOY.heads, TOY.n_obs + TOY.n_future, TOY.head_dim)
    waypoints, t = torch.randn(2, 32, 14), torch.rand(2)
    assert loaded.action_velocity(context, proprio(batch), waypoints, t).shape == waypoints.shape
    model = deepcopy(loaded)
    for layer in (model.action.stream.head, model.action.stream.time_projection):
        torch.nn.init.normal_(layer.weight)  # a zero head hides what lies before it
    model.loss(batch)["loss"].backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unused == []
    assert model.text is loaded.text and model.tokenizer is loaded.tokenizer  # copies share what is frozen
    assert not any("vae" in name or "text_encoder" in name for name in model.state_dict())


def test_the_policy_acts_with_it_and_its_chain_has_a_likelihood(loaded: AIM) -> None:
    policy = AimPolicy(deepcopy(loaded), TOY.execute, "flow_sde", 0.3)
    batch = TensorDict({**toy_batch(loaded, "ring the bell", "ring the bell")}, [2])
    acted = policy(batch)
    assert acted["action"].shape == (2, 32, 16) and acted["commanded_tcp"].shape == (2, 32, 2, 3)
    assert acted["value_map"].shape == (2, TOY.frames, 3, *TOY.head_tile)
    again = policy.get_dist(acted).log_prob(acted["sample"])
    torch.testing.assert_close(again, acted["sample_log_prob"], atol=1e-4, rtol=1e-4)


def test_wans_own_parts_go_along_to_the_gpu(loaded: AIM) -> None:
    model, batch = deepcopy(loaded), TensorDict({**toy_batch(loaded, "ring the bell")}, [1])
    expected = AimPolicy(model, TOY.execute)(batch.clone())
    with PretendedGpu():
        acted = AimPolicy(model.to(CUDA), TOY.execute)(batch.clone())
        parts = (wan_tokenizer(loaded).model, loaded.text.model)  # pyright: ignore
        assert {parameter.device for part in parts for parameter in part.parameters()} == {CUDA}
        model.cpu()
    for key in ("action", "value_map"):
        torch.testing.assert_close(acted[key], expected[key])


def test_a_stream_of_the_same_width_starts_as_an_identical_copy(loaded: AIM) -> None:
    torch.manual_seed(0)
    twin = Stream(TOY, TOY.token_dim, TOY.width_x, TOY.ffn_x)
    narrow(loaded.x, twin)
    for name, parameter in twin.named_parameters():
        assert torch.equal(parameter, loaded.x.get_parameter(name)), name


def test_a_narrower_stream_keeps_every_kth_channel(loaded: AIM) -> None:
    half = Stream(TOY, TOY.token_dim, TOY.width_x // 2, TOY.ffn_x // 2)
    narrow(loaded.x, half)
    thin, wide = half.block(1), loaded.x.block(1)
    assert torch.equal(thin.q_norm.weight, wide.q_norm.weight)
    assert torch.equal(thin.out.weight, wide.out.weight[::2])
    assert torch.equal(thin.table, wide.table[:, ::2])
    torch.testing.assert_close(thin.qkv.weight, wide.qkv.weight[:, ::2] * 2**0.5)
    shared = loaded.x.time_projection.weight.unflatten(0, (6, -1))[:, ::2, ::2] * 2**0.5
    torch.testing.assert_close(half.time_projection.weight.unflatten(0, (6, -1)), shared)


def test_the_value_and_action_streams_start_from_the_video_stream(loaded: AIM) -> None:
    expected = Stream(TOY, TOY.token_dim, TOY.width_m, TOY.ffn_m)
    narrow(loaded.x, expected)
    assert all(torch.equal(p, loaded.m.get_parameter(name)) for name, p in expected.named_parameters())
    action, video = loaded.action.stream.block(0), loaded.x.block(0)
    assert torch.equal(action.q_norm.weight, video.q_norm.weight)
    assert loaded.action.stream.head.weight.abs().max() == 0  # its tokens are not Wan's: a new head


def spoil_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "layers": (lambda d: spoil_json(d / "transformer/config.json", num_layers=40), "num_layers is 40 instead of 3"),
    "vae": (lambda d: spoil_json(d / "vae/config.json", z_dim=16), "z_dim is 16 instead of 8"),
    "text": (lambda d: spoil_json(d / "text_encoder/config.json", d_model=512), "d_model is 512 instead of 12"),
    "no json": (lambda d: (d / "transformer/config.json").write_text("{"), "cannot be read"),
    "no folder": (lambda d: shutil.rmtree(d / "vae"), "completely downloaded"),
    "no weights": (lambda d: (d / "transformer" / FILE).unlink(), "cannot be read"),
    "half weights": (lambda d: (d / "transformer" / FILE).write_bytes(b"\x10" * 64), "cannot be read"),
    "half vae": (lambda d: (d / "vae" / FILE).write_bytes(b"\x10" * 64), "cannot be read"),
    "pickle": (lambda d: (d / "vae" / FILE).rename(d / "vae/diffusion_pytorch_model.bin"), "cannot be read"),
    "no words": (lambda d: (d / "tokenizer/tokenizer.json").unlink(), "tokenizer cannot be read"),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_directory_that_does_not_fit_is_one_sentence(copy: Path, spoiled: str) -> None:
    spoil, sentence = SPOILED[spoiled]
    spoil(copy)
    with pytest.raises(UserError, match=sentence) as caught:
        load_wan(copy, TOY)
    assert "\n" not in str(caught.value)


def test_presets_and_directories_must_belong_together(directory: Path) -> None:
    with pytest.raises(UserError, match=r"wan2\.2-5b"):
        load_wan(directory, PRESETS["tiny"])
    with pytest.raises(UserError, match="ffn_dim is 96 instead of 100"):
        load_wan(directory, replace(TOY, ffn_x=100))
    with pytest.raises(UserError, match="word pieces"):
        tokenize("ring the bell", TOY)
    model, batch = AIM(TOY), observation(TOY, 1)
    with pytest.raises(UserError, match="--wan DIR"):
        model.observe(batch, torch.zeros(1, TOY.text_length, dtype=torch.long))


def stream_size(width: int, ffn: int, tokens: int, text: int = 0) -> int:
    """Parameters of a stream of the full size, by hand: weights + biases. Wan's transformer reads text of 4096."""
    inner, depth, frequencies = 24 * 128, 30, 256
    attention = 3 * (width * inner + inner) + (inner * width + width) + 2 * inner
    block = attention + (2 * width * ffn + ffn + width) + 6 * width
    time = (frequencies * width + width) + (width * width + width) + 6 * (width * width + width)
    ends = (tokens * width + width) + (width * tokens + tokens) + 2 * width
    if text:
        block += attention + 2 * width
        ends += (text * width + width) + (width * width + width)
    return depth * block + time + ends


def test_the_full_size_is_wans() -> None:
    preset = PRESETS["wan2.2-5b"]
    with torch.device("meta"):
        model = AIM(preset)
    assert preset.canvas == (384, 320) and preset.grid == (12, 10)
    assert (preset.n_obs, preset.n_future, preset.token_dim, preset.n_waypoints) == (120, 240, 192, 32)
    x, m, a = (sum(p.numel() for p in part.parameters()) for part in (model.x, model.m, model.action))
    assert x == stream_size(3072, 14336, 192, text=4096) == 4_999_787_712
    assert m == stream_size(1024, 4096, 192)
    second, state = 768 * 768 + 768, (46 * 768 + 768) + (768 * 768 + 768)
    assert a == stream_size(768, 3072, 14) + second + state  # actions and proprioception are embedded by MLPs

"""Loads Wan2.2's transformer weights from a diffusers directory into the streams."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aim_rl.model.aim import AIM
from aim_rl.model.presets import Preset
from aim_rl.model.pretrained import load_frozen
from aim_rl.model.streams import NORM_EPS, Stream
from aim_rl.model.wan import SOURCE, check_config
from envs.errors import UserError

FILE = "diffusion_pytorch_model.safetensors"

# Our layer -> layers of diffusers' WanTransformer3DModel, concatenated in this order.
STREAM_LAYERS = {
    "embedding": ["patch_embedding"],
    "time.0": ["condition_embedder.time_embedder.linear_1"],
    "time.2": ["condition_embedder.time_embedder.linear_2"],
    "time_projection": ["condition_embedder.time_proj"],
    "text.0": ["condition_embedder.text_embedder.linear_1"],
    "text.2": ["condition_embedder.text_embedder.linear_2"],
    "head_table": ["scale_shift_table"],
    "head": ["proj_out"],
}
BLOCK_LAYERS = {
    "table": ["scale_shift_table"],
    "qkv": ["attn1.to_q", "attn1.to_k", "attn1.to_v"],
    "q_norm": ["attn1.norm_q"],
    "k_norm": ["attn1.norm_k"],
    "out": ["attn1.to_out.0"],
    "cross.norm": ["norm2"],
    "cross.q": ["attn2.to_q"],
    "cross.kv": ["attn2.to_k", "attn2.to_v"],
    "cross.q_norm": ["attn2.norm_q"],
    "cross.k_norm": ["attn2.norm_k"],
    "cross.out": ["attn2.to_out.0"],
    "ff.0": ["ffn.net.0.proj"],
    "ff.2": ["ffn.net.2"],
}


def load_wan(directory: Path, preset: Preset) -> AIM:
    """A model that starts from Wan2.2: its transformer is the video stream, its VAE the tokenizer, its UMT5 the text.

    The value and action streams start from the video stream (`narrow`); the action head's input, output and
    proprioception layers are new.

    Args:
        directory: a diffusers pipeline's folder with transformer, vae, text_encoder and tokenizer.
        preset: one whose tokenizer is "wan" and whose text is "umt5".

    Raises:
        UserError: a part is missing, damaged or of another size than the preset's, or the extra `wan` is missing.
    """
    model = AIM(preset)
    load_frozen(model, directory)
    load_video_stream(model.x, directory, preset)
    for stream in (model.m, model.action.stream):
        narrow(model.x, stream)
    return model


@torch.no_grad()
def load_video_stream(stream: Stream, directory: Path, preset: Preset) -> None:
    """Copies the weights in `directory`/transformer into the video stream, tensor by tensor. Never unpickles.

    Raises UserError: the folder is missing, damaged or holds a transformer of another size.
    """
    check_config(directory, "transformer", preset, transformer_config(preset))
    folder = directory / "transformer"
    parameters = dict(stream.named_parameters())
    try:
        files = _files(folder)
        needed = {source for name in parameters for source in sources(name)}
        if odd := sorted(needed ^ files.keys()):
            raise UserError(f"{folder} contradicts its config.json: {len(odd)} tensors differ, first {odd[0]}")
        for name, parameter in parameters.items():
            parts = [_read(files[source], source) for source in sources(name)]
            value = _in_our_order(name, torch.cat(parts), preset)
            if value.shape != parameter.shape:
                raise UserError(f"{folder} contradicts its config.json: {sources(name)[0]} is of another size")
            parameter.copy_(value)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder} cannot be read ({error}); download {SOURCE} again") from error


def _files(folder: Path) -> dict[str, Path]:
    """Which safetensors file of `folder` holds which tensor: one file, or shards with an index."""
    index = folder / f"{FILE}.index.json"
    if index.exists():
        return {name: folder / Path(file).name for name, file in json.loads(index.read_text())["weight_map"].items()}
    with safe_open(folder / FILE, "pt") as file:
        return dict.fromkeys(file.keys(), folder / FILE)


def _read(path: Path, name: str) -> Tensor:
    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


def transformer_config(preset: Preset) -> dict[str, object]:
    """What the config of a WanTransformer3DModel must say to be the preset's video stream."""
    return {
        "patch_size": [preset.temporal_patch, preset.patch, preset.patch],
        "num_attention_heads": preset.heads,
        "attention_head_dim": preset.head_dim,
        "in_channels": preset.latent_channels,
        "out_channels": preset.latent_channels,
        "text_dim": preset.text_dim,
        "freq_dim": preset.time_frequencies,
        "ffn_dim": preset.ffn_x,
        "num_layers": preset.depth,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": NORM_EPS,
        "image_dim": None,
        "added_kv_proj_dim": None,
    }


def sources(name: str) -> list[str]:
    """Names in a WanTransformer3DModel of the tensors that make up the video stream's parameter `name`, in order."""
    layers, prefix = STREAM_LAYERS, ""
    if name.startswith("blocks."):
        _, number, name = name.split(".", 2)
        layers, prefix = BLOCK_LAYERS, f"blocks.{number}."
    layer, dot, leaf = (name, "", "") if name in layers else name.rpartition(".")
    return [f"{prefix}{source}{dot}{leaf}" for source in layers[layer]]


def _in_our_order(name: str, value: Tensor, preset: Preset) -> Tensor:
    """Reorders a tensor: Wan's patches enter channel first and leave channel last, ours are (frame, channel, row,
    column), and our tables have no batch axis.
    """
    if name == "embedding.weight":
        return value.transpose(1, 2).flatten(1)
    if name.startswith("head."):
        s, p = preset.temporal_patch, preset.patch
        return value.unflatten(0, (s, p, p, -1)).movedim(3, 1).flatten(0, 3)
    return value[0] if name.endswith("table") else value


@torch.no_grad()
def narrow(wide: Stream, thin: Stream) -> None:
    """Initialises `thin` with every k-th channel of `wide`; with equal widths it becomes an identical copy.

    Channels have no order, so averaging neighbours (as Fast-WAM does) would mix unrelated features. The same channels
    are kept in every layer, so a kept channel reads and writes the channels it did in Wan. Sums over fewer channels are
    scaled by the root of the ratio, which keeps their variance. Layers that `wide` does not have, and layers whose
    tokens are of another kind, stay as they are.
    """
    source = dict(wide.named_parameters())
    same_tokens = wide.head.out_features == thin.head.out_features
    for name, parameter in thin.named_parameters():
        if name not in source or (name.startswith(("embedding.", "head.")) and not same_tokens):
            continue
        value = source[name]
        for axis, (many, few) in enumerate(zip(value.shape, parameter.shape, strict=True)):
            value = value.index_select(axis, torch.arange(few, device=value.device) * many // few)
            if axis == 1 and name.endswith(".weight"):
                value = value * (many / few) ** 0.5
        parameter.copy_(value)

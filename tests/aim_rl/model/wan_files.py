"""Directories as diffusers writes them, of Wan2.2's classes at toy sizes with random weights."""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from aim_rl.model import PRESETS, Preset

WORDS = ["<pad>", "</s>", "<unk>", "stack", "the", "red", "block", "on", "green", "ring", "bell"]

TOY: Preset = replace(
    PRESETS["wan2.2-5b"],
    head_size=(64, 128),
    wrist_size=(32, 64),
    frames=8,
    latent_channels=8,
    depth=3,
    heads=2,
    head_dim=20,  # 20 = 8 + 6 + 6: the three axes differ
    width_x=40,
    width_m=24,
    width_a=16,
    ffn_x=96,
    ffn_m=48,
    ffn_a=32,
    time_frequencies=32,
    vocab=len(WORDS),
    text_dim=12,
    text_length=16,
    history=0,
    history_noise=0.0,
    world_steps=2,
    action_steps=2,
)


def transformer(preset: Preset = TOY) -> WanTransformer3DModel:
    """Every weight is random, tables and norms too, so that each one matters."""
    torch.manual_seed(3)
    model = WanTransformer3DModel(
        patch_size=(1, preset.patch, preset.patch),
        num_attention_heads=preset.heads,
        attention_head_dim=preset.head_dim,
        in_channels=preset.latent_channels,
        out_channels=preset.latent_channels,
        text_dim=preset.text_dim,
        freq_dim=preset.time_frequencies,
        ffn_dim=preset.ffn_x,
        num_layers=preset.depth,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def vae(preset: Preset = TOY) -> AutoencoderKLWan:
    torch.manual_seed(4)
    channels = preset.latent_channels
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=channels,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1 * i for i in range(channels)],
        latents_std=[1 + 0.1 * i for i in range(channels)],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
    ).eval()


def text_encoder(preset: Preset = TOY) -> UMT5EncoderModel:
    torch.manual_seed(5)
    config = UMT5Config(vocab_size=len(WORDS), d_model=preset.text_dim, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    return UMT5EncoderModel(config).eval()


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One id per word and the end mark, as T5's."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def save(directory: Path, shard: str = "10GB") -> Path:
    """The whole pipeline folder, in shards of at most `shard`."""
    transformer().save_pretrained(directory / "transformer", max_shard_size=shard)
    vae().save_pretrained(directory / "vae", max_shard_size=shard)
    text_encoder().save_pretrained(directory / "text_encoder", max_shard_size=shard)
    word_tokenizer().save_pretrained(directory / "tokenizer")
    return directory

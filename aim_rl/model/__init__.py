"""The world-action model: presets, streams, losses and samplers."""

from aim_rl.model.aim import AIM, Observed, WorldContext
from aim_rl.model.normaliser import PROPRIO_DIM, Normaliser, proprio
from aim_rl.model.presets import PRESETS, Preset
from aim_rl.model.pretrained import load_frozen
from aim_rl.model.sampler import STEP_SAMPLERS, sample_chain, step_distribution
from aim_rl.model.text import Tokenize, tokenize
from aim_rl.model.tokenizer import cut, map_peak_error, pack, paste, patchify, unpatchify
from aim_rl.model.visibility import TOKEN_KINDS, VISIBLE, attention_mask
from aim_rl.model.wan import instruction_tokenizer
from aim_rl.model.wan_weights import load_wan

__all__ = [
    "AIM",
    "PRESETS",
    "PROPRIO_DIM",
    "STEP_SAMPLERS",
    "TOKEN_KINDS",
    "VISIBLE",
    "Normaliser",
    "Observed",
    "Preset",
    "Tokenize",
    "WorldContext",
    "attention_mask",
    "cut",
    "instruction_tokenizer",
    "load_frozen",
    "load_wan",
    "map_peak_error",
    "pack",
    "paste",
    "patchify",
    "proprio",
    "sample_chain",
    "step_distribution",
    "tokenize",
    "unpatchify",
]

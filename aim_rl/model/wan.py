"""The frozen VAE and text encoder of Wan2.2-TI2V-5B, from a diffusers directory.

They are not submodules of the model, so that checkpoints do not repeat their 6 billion parameters.
"""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from aim_rl.model.presets import Preset
from aim_rl.model.text import Tokenize, word_tokenizer
from aim_rl.model.tokenizer import canvas_now, cut, paste
from envs.errors import UserError

SOURCE = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
MAX_INSTRUCTIONS = 256  # embeddings in the cache


class Frozen:
    """A pretrained model that is never trained, copied or saved."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The diffusers or transformers model. Raises UserError before `load`."""
        if self._model is None:
            raise missing(self.preset)
        return self._model

    def adopt(self, model: nn.Module) -> None:
        self._model = model.eval().requires_grad_(False)

    def own_precision(self) -> torch.autocast:
        """Context in which it computes in the precision it was loaded in, without autocast."""
        return torch.autocast(self.model.device.type, enabled=False)

    def to(self, device: torch.device) -> None:
        """Moves it, if it is loaded."""
        if self._model is not None:
            self._model.to(device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of the model share it


class WanTokenizer(Frozen):
    """Canvas videos <-> latents of Wan2.2's VAE (diffusers' AutoencoderKLWan): C channels per 16 x 16 px and 4 frames.

    Each camera is encoded separately, because convolutions over the whole canvas would mix the cameras. The VAE is
    causal, so a chunk is encoded together with the frame before it: the current images for RGB, an empty map for value
    maps. Both are known when the chunk is decoded.
    """

    _empty_map: Tensor | None = None  # latents of an empty map, computed once

    def load(self, directory: Path) -> None:
        """Reads `directory`/vae. Raises UserError: it is missing, damaged or of another size, or no diffusers."""
        preset = self.preset
        strides = {"scale_factor_spatial": preset.spatial_stride, "scale_factor_temporal": preset.temporal_stride}
        check_config(directory, "vae", preset, {"z_dim": preset.latent_channels, **strides})
        self.adopt(from_pretrained("diffusers", "AutoencoderKLWan", directory, "vae", low_cpu_mem_usage=False))

    def encode_now(self, cameras: Sequence[Tensor]) -> Tensor:
        """Current images, head, left and right, u8 [B, h, w, 3] -> normalised latents [B, 1, C, h', w']."""
        return self.to_latents(canvas_now(cameras, self.preset))

    def encode(self, video: Tensor, before: Sequence[Tensor] | None) -> Tensor:
        """Canvases [B, F, 3, H, W] in [-1, 1], F a multiple of 4 -> normalised latents [B, F / 4, C, h', w'].

        before: camera images of the frame before the video; None: an empty map.
        """
        return self.to_latents(torch.cat([self._first(before, video), video], 1))[:, 1:]

    def decode(self, latents: Tensor, before: Sequence[Tensor] | None) -> Tensor:
        """Latents -> canvases in [-1, 1], the VAE's approximate inverse of `encode`."""
        video = latents.new_empty(len(latents), 0, 3, *self.preset.canvas)
        first = self.to_latents(self._first(before, video)) if before is not None else self._first_of_maps(latents)
        return self.to_video(torch.cat([first, latents], 1))[:, 1:]

    def heights(self, maps: Tensor) -> Tensor:
        """Value maps [B, F, 3, H, W] in [-1, 1] -> maxima over each latent cell [B, F / 4, C, h', w'] in [0, 1]."""
        preset = self.preset
        cell = (preset.temporal_stride, preset.spatial_stride, preset.spatial_stride)
        peaks = F.max_pool3d((maps.transpose(1, 2) + 1) / 2, cell).amax(1)
        return peaks[:, :, None].expand(-1, -1, preset.latent_channels, -1, -1)

    @torch.no_grad()
    def to_latents(self, video: Tensor) -> Tensor:
        """Canvases [B, T, 3, H, W] in [-1, 1] -> latents [B, 1 + (T-1)/4, C, h', w']: the posterior's mode, normalised.

        Raises ValueError: T is not 4k + 1; the VAE would drop the remaining frames.
        """
        if (video.shape[1] - 1) % self.preset.temporal_stride:
            raise ValueError(f"Wan's VAE takes 4k + 1 frames, not {video.shape[1]}.")
        head, left, right = cut(video, self.preset)
        wrists = self._encode_camera(torch.cat([left, right]))
        return paste(self._encode_camera(head), *wrists.chunk(2))

    @torch.no_grad()
    def to_video(self, latents: Tensor) -> Tensor:
        """Latents [B, L, C, h', w'] -> canvases [B, 4L - 3, 3, H, W] in [-1, 1], each camera decoded separately."""
        head, left, right = cut(latents, self.preset, self.preset.spatial_stride)
        wrists = self._decode_camera(torch.cat([left, right]))
        return paste(self._decode_camera(head), *wrists.chunk(2))

    def _first(self, before: Sequence[Tensor] | None, like: Tensor) -> Tensor:
        if before is None:
            return like.new_full((len(like), 1, *like.shape[2:]), -1.0)
        return canvas_now(before, self.preset).to(like)

    def _first_of_maps(self, like: Tensor) -> Tensor:
        if self._empty_map is None:
            empty = torch.empty(1, 0, 3, *self.preset.canvas, device=self.model.device)
            self._empty_map = self.to_latents(self._first(None, empty))
        return self._empty_map.to(like).expand(len(like), -1, -1, -1, -1)

    def _encode_camera(self, video: Tensor) -> Tensor:
        with self.own_precision():
            mode = self.model.encode(video.transpose(1, 2).to(self.model.device, self.model.dtype)).latent_dist.mode()
        mean, std = self._statistics(mode)
        return ((mode - mean) / std).transpose(1, 2).to(video)

    def _decode_camera(self, latents: Tensor) -> Tensor:
        normalised = latents.transpose(1, 2).to(self.model.device, self.model.dtype)
        mean, std = self._statistics(normalised)
        with self.own_precision():
            return self.model.decode(normalised * std + mean).sample.transpose(1, 2).to(latents)

    def _statistics(self, like: Tensor) -> Tensor:
        """Mean and std of the latents per channel, [2, C, 1, 1, 1]."""
        config = self.model.config
        return torch.tensor([config.latents_mean, config.latents_std]).to(like)[..., None, None, None]


class WanText(Frozen):
    """Instructions -> text embeddings as in Wan's training: UMT5, zeros after the last word piece, no mask."""

    _pieces: "WordPieces | None" = None

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        self._known: dict[tuple[int, ...], Tensor] = {}

    def load(self, directory: Path) -> None:
        """Reads `directory`/text_encoder and /tokenizer. Raises UserError: missing, damaged, another size, no extra."""
        check_config(directory, "text_encoder", self.preset, {"d_model": self.preset.text_dim})
        self.adopt(from_pretrained("transformers", "UMT5EncoderModel", directory, "text_encoder"))
        self._pieces = WordPieces(directory, self.preset)

    @property
    def tokenize(self) -> "WordPieces":
        """The encoder's own tokenizer. Raises UserError before `load`."""
        if self._pieces is None:
            raise missing(self.preset)
        return self._pieces

    @torch.no_grad()
    def __call__(self, ids: Tensor) -> Tensor:
        """Ids [B, L] from `tokenize` -> embeddings [B, L, text_dim] in the encoder's precision, on the ids' device."""
        unique, place = ids.unique(dim=0, return_inverse=True)  # a batch has few distinct instructions
        texts = [self._encode(text).to(ids.device) for text in unique]
        return torch.stack([F.pad(h, (0, 0, 0, ids.shape[1] - len(h))) for h in texts])[place]

    def _encode(self, ids: Tensor) -> Tensor:
        """Embeddings [n, text_dim] of one text's n word pieces; computed alone, so that no batch changes them."""
        text = tuple(ids[ids != self.model.config.pad_token_id].tolist())
        if text not in self._known:
            if len(self._known) == MAX_INSTRUCTIONS:
                self._known.pop(next(iter(self._known)))  # the oldest
            pieces = torch.tensor([text], device=self.model.device)
            with self.own_precision():
                self._known[text] = self.model(pieces).last_hidden_state[0]
        return self._known[text]


class WordPieces:
    """UMT5's tokenizer: an instruction -> word piece ids int64 [L] with the end mark, zero-padded, cut at L."""

    def __init__(self, directory: Path, preset: Preset) -> None:
        """Reads `directory`/tokenizer. Raises UserError: it is missing or damaged, or the extra `wan` is missing."""
        self._length = preset.text_length
        try:
            tokenizers = _package("transformers").AutoTokenizer
            self._tokenizer = tokenizers.from_pretrained(directory / "tokenizer", local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{directory / 'tokenizer'} cannot be read; download {SOURCE} again") from error

    def __call__(self, text: str) -> Tensor:
        options = {"padding": "max_length", "truncation": True, "max_length": self._length}
        return self._tokenizer(" ".join(text.split()), return_tensors="pt", **options).input_ids[0]


def instruction_tokenizer(preset: Preset, directory: Path | None) -> Tokenize:
    """The preset's tokenizer; `directory`: of Wan2.2, for presets that start from it.

    Raises UserError: the preset needs a directory and none is given, or it cannot be read.
    """
    if preset.text == "words":
        return word_tokenizer(preset)
    if directory is None:
        raise missing(preset)
    return WordPieces(directory, preset)


def missing(preset: Preset) -> UserError:
    """The error for a preset whose pretrained parts are missing."""
    return UserError(f"the preset {preset.name} needs the pretrained {SOURCE}; give its folder with --wan DIR")


def check_config(directory: Path, part: str, preset: Preset, expected: Mapping[str, Any]) -> None:
    """Raises UserError unless `directory`/`part`/config.json has the values `expected`."""
    path = directory / part / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read; give the folder of {SOURCE}, completely downloaded, with --wan DIR"
        ) from error
    found = {key: config.get(key) for key in expected} if isinstance(config, dict) else {}
    wrong = [
        f"{key} is {found.get(key)} instead of {value}" for key, value in expected.items() if found.get(key) != value
    ]
    if wrong:
        raise UserError(f"{path} is not the model that the preset {preset.name} needs: {', '.join(wrong)}")


def from_pretrained(package: str, name: str, directory: Path, part: str, **options: Any) -> nn.Module:
    """The pretrained model of class `package`.`name` in `directory`/`part`. Never unpickles.

    Raises UserError: it is damaged or incomplete, or the package is not installed.
    """
    options |= {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    try:
        model, info = getattr(_package(package), name).from_pretrained(directory / part, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{directory / part} cannot be read ({reason}); download {SOURCE} again") from error
    if info["missing_keys"]:
        raise UserError(f"{directory / part} lacks {len(info['missing_keys'])} tensors; download {SOURCE} again")
    return model


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"Wan2.2 needs the package {name}: pip install -e '.[wan]'") from error

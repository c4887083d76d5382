"""Presets: all sizes of a model. Nothing in the model branches on a preset's name."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

from typeguard import TypeCheckError, check_type

from aim_rl.model.visibility import TABLES
from envs.errors import UserError

STEM_CELL = 4  # px of a camera image folded into one cell of the observation stem
MAY_BE_ZERO = ("stem_channels", "keypoints", "history")
MAX_FIELD = {"depth": 256, "horizon": 4096, "history": 64, "head_size": 4096, "wrist_size": 4096}
"""Upper bounds of integer fields: a preset may come from a stranger's checkpoint, and the model allocates by it."""
MAX_OTHER_FIELD = 2**20
MAX_TOKENS, MAX_WIDTH = 4096, 8192


@dataclass(frozen=True)
class Preset:
    """All sizes of one model. Image sizes are (height, width) in px.

    The prediction canvas is the T-pose of the three cameras shrunk by `shrink`: head on top, left and right wrist
    side by side below. A video tokenizer turns it into latent cells, and a token is a block of latent cells.

    Raises:
        ValueError: a field has the wrong type, is not finite or out of bounds, the cameras do not tile the canvas, or
            the tokens do not tile the chunk.
    """

    name: str
    head_size: tuple[int, int]
    wrist_size: tuple[int, int]
    shrink: int  # camera pixels per canvas pixel
    tokenizer: Literal["pixels", "wan"]  # what a latent is: the pixels themselves, or Wan2.2's VAE
    latent_channels: int
    spatial_stride: int  # canvas pixels per latent cell side
    temporal_stride: int  # future frames per latent frame
    patch: int  # latent cells per token side
    temporal_patch: int  # latent frames folded into one token
    frames: int  # predicted future frames
    data_rms: tuple[float, float] | None  # of RGB and map latents, see `flow.velocity`
    depth: int
    heads: int
    head_dim: int
    width_x: int
    width_m: int
    width_a: int
    ffn_x: int  # hidden width of the feed-forward layers
    ffn_m: int
    ffn_a: int
    time_frequencies: int  # sinusoids that encode a time
    learned_positions: bool  # in addition to rotary positions
    stem_channels: int  # of the observation stem; 0: no stem, the observation is a clean frame of the video
    keypoints: int  # per camera, found by the stem
    text: Literal["words", "umt5"]
    vocab: int
    text_dim: int
    text_length: int
    horizon: int = 16  # control steps per chunk
    stride: int = 4  # control steps per waypoint
    execute: int = 8  # control steps executed before the next decision
    history: int = 0  # past decisions that a decision reads
    action_dim: int = 14
    world_steps: int = 1
    action_steps: int = 4
    shift_video: float = 5.0
    shift_action: float = 1.0
    pure_noise: float = 0.5  # share of training samples whose future is pure noise, where one-step inference starts
    times_per_frame: bool = False  # whether training draws one time per token frame of the future
    history_noise: float = 0.0  # share of training samples whose past observations are noised
    action_draws: int = 4  # (time, noise) draws of the action chunk per world pass in training
    map_weight: float = 20.0  # extra weight of a map pixel at the centre of a blob
    lambda_map: float = 1.0
    lambda_action: float = 1.0
    visibility: str = "intent_causal"  # one of visibility.TABLES
    action_mlp: bool = False  # whether an MLP embeds actions; otherwise one linear layer, as in the other streams

    def __post_init__(self) -> None:
        self._check_fields()
        tiles = (*self.head_tile, *self.wrist_tile)
        if self.head_size[1] != 2 * self.wrist_size[1]:
            raise ValueError("The head camera must be as wide as both wrist cameras together.")
        if any(side % (self.shrink * self.token_side) for side in (*self.head_size, *self.wrist_size)):
            raise ValueError(f"A patch of {self.token_side} px would straddle a seam between the tiles {tiles}.")
        if (self.shrink * self.token_side) % (2 * STEM_CELL):
            raise ValueError("A token must cover a whole number of stem features.")
        if self.frames % self.token_frames or self.horizon % self.stride or self.horizon % self.frames:
            raise ValueError("Frames must fill tokens, and waypoints and frames must divide the chunk.")
        if self.history_noise and self.stem_channels:
            raise ValueError(
                "Only observations made of latents can be noised: history_noise and a stem exclude each other."
            )
        if self.history and self.execute % self.stride:
            raise ValueError("A remembered decision must have executed whole waypoints.")
        if self.n_future + (1 + self.history) * (self.n_obs + self.n_past) > MAX_TOKENS:
            raise ValueError(f"More than {MAX_TOKENS} tokens do not fit in memory.")
        if self.heads * self.head_dim > MAX_WIDTH:
            raise ValueError(f"heads * head_dim is {self.heads * self.head_dim}; it must be at most {MAX_WIDTH}.")
        if self.head_dim % 2:
            raise ValueError("Rotary positions turn pairs of numbers: head_dim must be even.")
        if self.visibility not in TABLES:
            raise ValueError(f"There is no visibility table {self.visibility!r}; choose one of {', '.join(TABLES)}.")

    def _check_fields(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            try:
                check_type(value, field.type)
            except TypeCheckError as error:
                raise ValueError(f"{field.name} cannot be {value!r:.40}.") from error
            least = 0 if field.name in MAY_BE_ZERO else 1
            if isinstance(value, bool) and field.type is not bool:
                raise ValueError(f"{field.name} cannot be {value}.")
            for number in value if isinstance(value, tuple) else (value,):
                most = MAX_FIELD.get(field.name, MAX_OTHER_FIELD)
                if type(number) is int and field.type is not float and not least <= number <= most:
                    raise ValueError(f"{field.name} is {number}; it must lie in {least} .. {most}.")
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{field.name} is not finite.")

    @property
    def head_tile(self) -> tuple[int, int]:
        return self.head_size[0] // self.shrink, self.head_size[1] // self.shrink

    @property
    def wrist_tile(self) -> tuple[int, int]:
        return self.wrist_size[0] // self.shrink, self.wrist_size[1] // self.shrink

    @property
    def canvas(self) -> tuple[int, int]:
        return self.head_tile[0] + self.wrist_tile[0], self.head_tile[1]

    @property
    def token_side(self) -> int:
        """Canvas pixels per token side."""
        return self.spatial_stride * self.patch

    @property
    def token_frames(self) -> int:
        """Future frames per token."""
        return self.temporal_stride * self.temporal_patch

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the canvas's token grid."""
        return self.canvas[0] // self.token_side, self.canvas[1] // self.token_side

    @property
    def times(self) -> int:
        """Token grids in a chunk, one after another in time."""
        return self.frames // self.token_frames

    @property
    def n_future(self) -> int:
        """Tokens of the future RGB, and of the value maps."""
        return self.times * self.grid[0] * self.grid[1]

    @property
    def n_obs(self) -> int:
        """Tokens of the current observation: the grid and, with keypoints, one token per camera."""
        return self.grid[0] * self.grid[1] + (3 if self.keypoints else 0)

    @property
    def n_waypoints(self) -> int:
        return self.horizon // self.stride

    @property
    def n_past(self) -> int:
        """Action tokens of a past decision: the waypoints that were executed."""
        return self.execute // self.stride

    @property
    def token_dim(self) -> int:
        return self.temporal_patch * self.latent_channels * self.patch**2


TINY = Preset(
    name="tiny",
    head_size=(48, 64),
    wrist_size=(32, 32),
    shrink=2,
    tokenizer="pixels",
    latent_channels=3,
    spatial_stride=1,
    temporal_stride=1,
    patch=8,
    temporal_patch=2,
    frames=2,
    data_rms=(0.5, 1.0),  # most map pixels are -1
    depth=2,
    heads=2,
    head_dim=12,
    width_x=32,
    width_m=24,
    width_a=32,
    ffn_x=128,
    ffn_m=96,
    ffn_a=128,
    time_frequencies=64,
    learned_positions=True,
    stem_channels=8,
    keypoints=4,
    text="words",
    vocab=64,
    text_dim=16,
    text_length=16,
    action_mlp=True,
)
SMALL = replace(
    TINY,
    name="small",
    head_size=(96, 128),
    wrist_size=(64, 64),
    patch=16,
    depth=4,
    heads=4,
    head_dim=24,
    width_x=96,
    width_m=64,
    width_a=128,
    ffn_x=384,
    ffn_m=256,
    ffn_a=512,
    stem_channels=32,
    keypoints=16,
    vocab=512,
    text_dim=64,
    text_length=32,
    action_mlp=False,
)
# The video stream, tokenizer and text encoder of Wan2.2-TI2V-5B. What the paper leaves open follows LingBot-VA: the
# canvas, chunks of 2 latent frames and 32 actions (4 per frame, one token each), both time shifts, 10 denoising steps
# for actions, times per frame and noised past in training. Our choices: widths m and a (as in Fast-WAM), 5 world steps
# (LingBot-VA takes 3 and stops half way, but a map that serves as reward should be clean), a history of two decisions
# (four seconds), and the whole chunk is executed, so that its last latent frame becomes the next observation.
WAN = Preset(
    name="wan2.2-5b",
    head_size=(256, 320),
    wrist_size=(128, 160),
    shrink=1,
    tokenizer="wan",
    latent_channels=48,
    spatial_stride=16,
    temporal_stride=4,
    patch=2,
    temporal_patch=1,
    frames=8,
    data_rms=None,
    depth=30,
    heads=24,
    head_dim=128,
    width_x=3072,
    width_m=1024,
    width_a=768,
    ffn_x=14336,
    ffn_m=4096,
    ffn_a=3072,
    time_frequencies=256,
    learned_positions=False,
    stem_channels=0,
    keypoints=0,
    text="umt5",
    vocab=256384,
    text_dim=4096,
    text_length=512,
    horizon=32,
    stride=1,
    execute=32,
    history=2,
    world_steps=5,
    action_steps=10,
    pure_noise=0.0,
    times_per_frame=True,
    history_noise=0.5,
    action_mlp=True,
)
PRESETS = {preset.name: preset for preset in (TINY, SMALL, WAN)}


def preset_named(name: str) -> Preset:
    """Raises UserError if there is none."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]

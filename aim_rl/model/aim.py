"""The world-action model: three streams, intent-causal attention, joint flow matching (docs/method.md)."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aim_rl.model import flow
from aim_rl.model.action_head import ActionHead
from aim_rl.model.history import History, append, empty_history
from aim_rl.model.layout import TokenLayout
from aim_rl.model.normaliser import PROPRIO_DIM, Normaliser, proprio
from aim_rl.model.presets import Preset
from aim_rl.model.pretrained import Pretrained, rename_old_tensors
from aim_rl.model.rotary import chunk_positions, rotation
from aim_rl.model.stem import ObservationStem
from aim_rl.model.streams import Segment, Stream, mixture, mlp, sincos_positions
from aim_rl.model.text import TextEncoder
from aim_rl.model.tokenizer import PixelTokenizer, patchify, to_signed, to_unit, unpatchify
from aim_rl.model.visibility import READS_TEXT, TABLES
from aim_rl.model.wan import Frozen, WanText, WanTokenizer
from envs.constants import CAMERAS

TOKENIZERS = {"pixels": PixelTokenizer, "wan": WanTokenizer}
TEXT_ENCODERS = {"words": TextEncoder, "umt5": WanText}
RMS_WAYPOINTS = 1.0  # root mean square of normalised waypoints


class WorldContext(NamedTuple):
    """What actions read of the world streams, computed once per decision (docs/method.md, "world context")."""

    kv: Tensor
    """[B, depth, 2, heads, history · n_past + n_obs + n_future, head_dim]: keys and values."""
    keypoints: Tensor
    """[B, 9K]: x, y in [-1, 1] and presence of the observation's keypoints."""
    exists: Tensor | None = None
    """Bool [B, n]: which of the n tokens of `kv` exist; None: all."""

    def detach(self) -> "WorldContext":
        return WorldContext(self.kv.detach(), self.keypoints.detach(), self.exists)


class Observed(NamedTuple):
    """The current observation and instruction, encoded once per decision."""

    tokens: Tensor
    """[B, n_obs, width_x], embedded."""
    keypoints: Tensor
    """[B, 9K], as `WorldContext.keypoints`."""
    text: Mapping[str, Tensor]
    """Keys and values of the instruction in the streams that read it, [B, depth, 2, heads, L, head_dim]."""
    t: Tensor
    """[B or 1, 1, 1], its time: 0 unless it was noised."""


def _rename_while_loading(_: nn.Module, tensors: dict[str, Any], prefix: str, *__: Any) -> None:
    """A function rather than a lambda: the model is pickled on its way to worker processes."""
    rename_old_tensors(tensors, prefix)


class AIM(Pretrained):
    """World-action model of one preset.

    Shapes use N = n_future tokens of token_dim numbers in [-1, 1]. Observations are dicts of tensors with a leading
    batch axis and the environment's keys; text ids are tokenized instructions [B, L].

    Args:
        preset: sizes of the model.
        visibility: table of who reads whom, instead of the preset's.
    """

    def __init__(self, preset: Preset, visibility: Mapping[str, frozenset[str]] | None = None) -> None:
        super().__init__()
        self.preset = preset
        self.recompute = False  # True: gradient checkpointing
        self.wan, self.metadata = None, {}
        self.visibility = visibility or TABLES[preset.visibility]
        self.layout = TokenLayout(preset, self.visibility)

        def world_stream(width: int, hidden: int, reads_text: bool) -> Stream:
            positions = sincos_positions(*preset.grid, width).repeat(preset.times, 1)
            learned = positions if preset.learned_positions else None
            return Stream(preset, preset.token_dim, width, hidden, learned, reads_text)

        self.tokenizer = TOKENIZERS[preset.tokenizer](preset)
        self.stem = ObservationStem(preset) if preset.stem_channels else None
        self.text = TEXT_ENCODERS[preset.text](preset)
        self.x = world_stream(preset.width_x, preset.ffn_x, "x" in READS_TEXT)
        self.m = world_stream(preset.width_m, preset.ffn_m, "m" in READS_TEXT)
        self.past_action = mlp(preset.action_dim, preset.width_x, preset.width_x, nn.SiLU()) if preset.history else None
        self.action = ActionHead(preset)
        self.waypoints = Normaliser(preset.n_waypoints, preset.action_dim)
        self.proprio_stats = Normaliser(PROPRIO_DIM)
        self.register_load_state_dict_pre_hook(_rename_while_loading)
        # No buffers: casting the model to half precision would round the angles.
        with torch.device("cpu"):
            self._rotations = {
                kind: rotation(places, preset.heads, preset.head_dim)
                for kind, places in chunk_positions(preset).items()
            }

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.x.head.weight.device

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        """Moves the pretrained parts, which are not submodules, together with the weights."""
        super()._apply(*args, **kwargs)
        for part in (self.tokenizer, self.text):
            if isinstance(part, Frozen):
                part.to(self.device)
        return self

    def world_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters but the action head's; Stage II freezes them."""
        return (parameter for name, parameter in self.named_parameters() if not name.startswith("action."))

    def observe(
        self, obs: Mapping[str, Tensor], text_ids: Tensor | None, noised: tuple[Tensor, Tensor] | None = None
    ) -> Observed:
        """Encodes the observation and instruction, which stay fixed while the future is denoised.

        Args:
            obs: camera images u8 [B, h, w, 3].
            text_ids: [B, L]; None for a past observation, which reads no text.
            noised: times [B] and noise [B, n_obs, token_dim] to add to an observation made of latents.
        """
        preset, cameras, dtype = self.preset, [obs[camera] for camera in CAMERAS], self.x.head.weight.dtype
        if self.stem is None:  # a clean frame of the video, as in Wan's image-to-video
            latents = patchify(self.tokenizer.encode_now(cameras).to(dtype), preset)
            tokens = self.x.embed(latents if noised is None else flow.interpolate(latents, noised[1], noised[0]))
            keypoints = tokens.new_zeros(len(tokens), 0)
        else:
            tokens, keypoints = self.stem(*cameras)
            if self.x.positions is not None:
                grid = preset.grid[0] * preset.grid[1]
                tokens = tokens + F.pad(self.x.positions[:grid], (0, 0, 0, preset.n_obs - grid))
        time = tokens.new_zeros(1) if noised is None else noised[0]
        return Observed(tokens, keypoints, self._read_text(text_ids, dtype), time[:, None, None])

    def _read_text(self, text_ids: Tensor | None, dtype: torch.dtype) -> dict[str, Tensor]:
        if text_ids is None:
            return {}
        text, streams = self.text(text_ids).to(dtype), {"x": self.x, "m": self.m}
        return {name: streams[name].read_text(text) for name in READS_TEXT}

    def encode_world(
        self, observed: Observed, x_t: Tensor, m_t: Tensor, t: Tensor, history: History | None = None
    ) -> tuple[Tensor, Tensor, WorldContext]:
        """One pass of the world streams: velocities [B, N, token_dim] of x and m, and the world context.

        Args:
            observed: the current observation and instruction.
            x_t: noised RGB tokens [B, N, token_dim].
            m_t: noised map tokens [B, N, token_dim].
            t: their shared time [B], or one per token [B, N].
            history: for presets with history.
        """
        segments = self.world_segments(observed, x_t, m_t, t)
        kv = self._run(segments, history)
        readable = self.layout.world_read_by_action
        context = WorldContext(kv[..., readable, :], observed.keypoints)
        if history is not None:
            recalled = self.layout.past_read_by_action
            exists = self.layout.exists(history.filled)[:, recalled]
            context = WorldContext(
                torch.cat([history.kv[..., recalled, :], context.kv], -2),
                observed.keypoints,
                torch.cat([exists, exists.new_ones(len(exists), len(readable))], 1),
            )
        _, x, m = segments
        rms_rgb, rms_map = self.preset.data_rms or (None, None)
        v_x = flow.velocity(x.read_out()[:, 0], x_t, t, rms_rgb)
        v_m = flow.velocity(m.read_out()[:, 0], m_t, t, rms_map)
        return v_x, v_m, context

    def recall(self, observed: Observed, history: History) -> Tensor:
        """Keys and values [B, depth, 2, heads, n_obs, head_dim] of an observation, which reads only the history."""
        return self._run([self._observation_segment(observed)], history)

    def remember(
        self, history: History, observation: Tensor, waypoints: Tensor, happened: Tensor | None = None
    ) -> History:
        """The history after a decision.

        Args:
            history: the history that the decision read.
            observation: its observation's keys and values, from `recall` or `observation_kv`.
            waypoints: [B, n_past, 14], normalised: what was commanded and executed.
            happened: bool [B], false where there was no such decision; None: true everywhere.
        """
        assert self.past_action is not None
        tokens = self.past_action(waypoints)[:, None]
        time = self.x.condition(tokens.new_zeros(1, 1, 1))
        segment = Segment("past_act", self.x, tokens, time, self._rotation("past_act", tokens), is_output=False)
        before = History(torch.cat([history.kv, observation], -2), history.filled)
        action = self._run([segment], before)
        if happened is None:
            happened = torch.ones_like(history.filled[:, 0])
        return append(history, torch.cat([observation, action], -2), happened, self.preset)

    def history_of(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> History | None:
        """The history of a training batch's decisions, built as in a rollout; None for a preset without history.

        In training the past images of a share `history_noise` of the samples are noised, each decision to its own time
        from the cleaner half of the schedule (LingBot-VA), so that the model tolerates an unreliable past.

        Args:
            batch: `past_<camera>` u8 [B, k, h, w, 3], `past_waypoints` [B, k, n_past, 14] (m, rad, gripper),
                `past_happened` bool [B, k].
            generator: of the noise.
        """
        if not self.preset.history:
            return None
        past = slice(self.preset.n_past)
        mean, std = self.waypoints.mean[past], self.waypoints.std[past]
        history = empty_history(self.preset, len(batch["past_waypoints"]), self.x.head.weight)
        noise = self._history_noise(len(history.filled), generator)
        for j in range(self.preset.history):
            cameras = {camera: batch[f"past_{camera}"][:, j] for camera in CAMERAS}
            observed = self.observe(cameras, None, None if noise is None else (noise[0][j], noise[1][j]))
            commanded = ((batch["past_waypoints"][:, j] - mean) / std).to(self.x.head.weight)
            history = self.remember(history, self.recall(observed, history), commanded, batch["past_happened"][:, j])
        return history

    def _history_noise(self, batch: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor] | None:
        """Times [k, B], all 0 for samples without noise, and noise [k, B, n_obs, token_dim]."""
        preset, weight = self.preset, self.x.head.weight
        if not preset.history_noise or not self.training:
            return None
        like: dict[str, Any] = {"generator": generator, "device": weight.device, "dtype": weight.dtype}
        noised = torch.rand(batch, **like) < preset.history_noise
        u = torch.rand((preset.history, batch), **like)
        t = torch.where(noised, flow.shift_time(u / 2, preset.shift_video), 0.0)
        return t, torch.randn((preset.history, batch, preset.n_obs, preset.token_dim), **like)

    def observation_kv(self, context: WorldContext) -> Tensor:
        """The current observation's keys and values in a context."""
        first = context.kv.shape[-2] - len(self.layout.world_read_by_action)
        return context.kv[..., first : first + self.preset.n_obs, :]

    def imagine(
        self,
        obs: Mapping[str, Tensor],
        text_ids: Tensor,
        generator: torch.Generator | None = None,
        history: History | None = None,
    ) -> tuple[Tensor, Tensor, WorldContext]:
        """Future RGB and value maps as clean tokens [B, N, token_dim], and the context of the last pass.

        Integrates the flow from t = 1 in `world_steps` Euler steps; one step gives the clean estimate. The batch
        shares the initial noise, so that a sample does not depend on its place in the batch. Tokens are returned, not
        images (`decode_rgb`, `decode_maps`), because Wan's VAE is slow.
        """
        preset = self.preset
        noise = flow.draw((2, 1, preset.n_future, preset.token_dim), self.x.head.weight, generator)
        x, m = noise.expand(-1, len(text_ids), -1, -1)
        return self.denoise_world(self.observe(obs, text_ids), x, m, history)

    def decode_rgb(self, x: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """Clean RGB tokens [B, N, token_dim] of the future after `obs` -> images [B, F, 3, H, W] in [0, 1]."""
        return to_unit(self.tokenizer.decode(unpatchify(x, self.preset), [obs[camera] for camera in CAMERAS]))

    def decode_maps(self, m: Tensor) -> Tensor:
        """Clean map tokens [B, N, token_dim] -> value maps [B, F, 3, H, W] in [0, 1]."""
        return to_unit(self.tokenizer.decode(unpatchify(m, self.preset), None))

    def denoise_world(
        self, observed: Observed, x: Tensor, m: Tensor, history: History | None = None
    ) -> tuple[Tensor, Tensor, WorldContext]:
        """Noise x, m [B, N, token_dim] -> clean tokens of the same shape, and the context of the last pass."""
        preset = self.preset
        times = flow.time_grid(preset.world_steps, preset.shift_video).to(x.dtype)  # on the CPU: a GPU runs ahead
        for t, t_next in itertools.pairwise(times):
            v_x, v_m, context = self.encode_world(observed, x, m, t.to(x.device).expand(len(x)), history)
            step = float(t_next - t)
            x, m = x.add(v_x, alpha=step), m.add(v_m, alpha=step)
        return x, m, context  # pyright: ignore[reportPossiblyUnboundVariable]  # there is at least one step

    def action_velocity(self, context: WorldContext, proprio: Tensor, waypoints_t: Tensor, t: Tensor) -> Tensor:
        """Velocity of the normalised waypoints; runs only the action stream.

        Args:
            context: of the decision.
            proprio: [B, 46] from `proprio`.
            waypoints_t: [B, n_waypoints, 14], or R draws per context [B, R, n_waypoints, 14], which do not read each
                other.
            t: [B], or [B, R].
        """
        if waypoints_t.ndim == 3:
            return self.action_velocity(context, proprio, waypoints_t[:, None], t[:, None])[:, 0]
        segment = self.action_segment(context, proprio, waypoints_t, t)
        draws, tokens = waypoints_t.shape[1], context.kv.shape[-2]
        mask = self.layout.action_mask(tokens, context.exists, draws, context.kv.device)
        mixture([segment], mask, context.kv, self.recompute)
        return flow.velocity(segment.read_out(), waypoints_t, t, RMS_WAYPOINTS)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Stage I's loss, joint flow matching: scalars "loss" = "rgb" + λ_m·"map" + λ_a·"action".

        RGB and maps share their time (or one time per token frame). It is 1 in a share `pure_noise` of the samples,
        because one-step inference starts there, and otherwise shifted towards the noise. A map pixel of height M weighs
        1 + map_weight·M, because blobs cover only about 1 % of a map.

        Args:
            batch: the observation's keys, `text` word ids [B, L], `future_rgb` and `future_maps` [B, F, 3, H, W]
                (u8, or float in [0, 1]), `waypoints` [B, n_waypoints, 14] (m, rad, gripper).
            generator: of times and noise.
        """
        preset = self.preset
        true_maps = to_signed(batch["future_maps"])
        now = [batch[camera] for camera in CAMERAS]
        x0 = patchify(self.tokenizer.encode(to_signed(batch["future_rgb"]), now), preset)
        m0 = patchify(self.tokenizer.encode(true_maps, None), preset)
        like = {"generator": generator, "device": x0.device, "dtype": x0.dtype}
        times = preset.times if preset.times_per_frame else 1
        pure, u = torch.rand((2, len(x0), times), **like)
        t = torch.where(pure < preset.pure_noise, 1.0, flow.shift_time(u, preset.shift_video))
        t = t.repeat_interleave(preset.n_future // times, 1)
        x1, m1 = torch.randn((2, *x0.shape), **like)
        x_t, m_t = flow.interpolate(x0, x1, t), flow.interpolate(m0, m1, t)
        observed, history = self.observe(batch, batch["text"]), self.history_of(batch, generator)
        v_x, v_m, context = self.encode_world(observed, x_t, m_t, t, history)
        rgb = F.mse_loss(v_x, x1 - x0)
        weight = 1 + preset.map_weight * patchify(self.tokenizer.heights(true_maps), preset)
        maps = (weight * (v_m - (m1 - m0)).square()).mean()
        action = self.action_loss(context, batch, generator)
        loss = rgb + preset.lambda_map * maps + preset.lambda_action * action
        return {"loss": loss, "rgb": rgb, "map": maps, "action": action}

    def action_loss(
        self, context: WorldContext, batch: Mapping[str, Tensor], generator: torch.Generator | None = None
    ) -> Tensor:
        """Flow-matching loss of the action head.

        Each context serves `action_draws` draws of (time, noise), because the world pass is the expensive part.
        """
        a0 = self.waypoints.normalise(batch["waypoints"])[:, None].expand(-1, self.preset.action_draws, -1, -1)
        like = {"generator": generator, "device": a0.device, "dtype": a0.dtype}
        t = flow.shift_time(torch.rand(a0.shape[:2], **like), self.preset.shift_action)
        a1 = torch.randn(a0.shape, **like)
        v = self.action_velocity(context, proprio(batch), flow.interpolate(a0, a1, t), t)
        return F.mse_loss(v, a1 - a0)

    def world_segments(self, observed: Observed, x_t: Tensor, m_t: Tensor, t: Tensor) -> list[Segment]:
        """Embedded segments obs, x and m at the times t, [B] or one per token [B, N]."""
        segments = [self._observation_segment(observed)]
        for kind, stream, h in (("x", self.x, self.x.embed(x_t)), ("m", self.m, self.m.embed(m_t))):
            condition = stream.condition(t.reshape(len(t), 1, -1))
            text = observed.text.get(kind)
            segments.append(Segment(kind, stream, h[:, None], condition, self._rotation(kind, h), text))
        return segments

    def action_segment(self, context: WorldContext, proprio: Tensor, waypoints_t: Tensor, t: Tensor) -> Segment:
        """Embedded segment a: proprio [B, 46], waypoints_t [B, R, n_waypoints, 14], t [B, R]."""
        turn = self._rotation("a", waypoints_t).repeat(waypoints_t.shape[1], 1, 1)
        return self.action(context.keypoints, self.proprio_stats.normalise(proprio), waypoints_t, t, turn)

    def _observation_segment(self, observed: Observed) -> Segment:
        h = observed.tokens
        condition = self.x.condition(observed.t)
        return Segment("obs", self.x, h[:, None], condition, self._rotation("obs", h), is_output=False)

    def _run(self, segments: list[Segment], history: History | None) -> Tensor:
        """Runs segments of the world streams; their keys and values [B, depth, 2, heads, n, head_dim].

        The history's tokens precede them: k decisions and, while the last one's action is encoded, its observation.
        """
        now, filled = [(segment.kind, segment.count) for segment in segments], None
        own_observation = False
        if history is not None:
            filled = history.filled
            own_observation = history.kv.shape[-2] > sum(count for _, count in self.layout.past)
        mask = self.layout.mask(now, filled, own_observation).to(segments[0].tokens.device)
        cache = mixture(segments, mask, None if history is None else history.kv, self.recompute)
        return torch.stack([z for pair in cache for z in pair], 1).unflatten(1, (-1, 2))

    def _rotation(self, kind: str, like: Tensor) -> Tensor:
        precision = torch.complex128 if like.dtype == torch.float64 else torch.complex64
        return self._rotations[kind].to(like.device, precision)

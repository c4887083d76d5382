"""The policy that TorchRL collects with and updates: frozen world streams, stochastic action head."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Literal

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from aim_rl.model import AIM, PROPRIO_DIM, WorldContext, proprio, sample_chain, step_distribution
from aim_rl.model.flow import draw, time_grid
from aim_rl.model.history import History, empty_history
from aim_rl.model.sampler import NoiseHead, StepSampler, random_steps
from aim_rl.model.waypoints import decode_waypoints
from envs.tabletop.scene import CAMERAS

Sampler = StepSampler | Literal["initial_noise"]
NOISE_LEVEL: dict[Sampler, float] = {"initial_noise": 0.5, "flow_sde": 0.5, "cps": 0.5, "flow_noise": 0.16, "ode": 0.0}
"""Each sampler's `a` by default; flow_noise's is a standard deviation of every denoising step (`NoiseHead`)."""
SPREAD = 0.5
"""Standard deviation of the likelihood per unit of initial noise: about twice the root mean square by which the
finished chunk of `small` deviates (0.26), because deviations have long tails."""
OBSERVATION = (*CAMERAS, "qpos", "qpos_measured", "left_endpose", "right_endpose")


class AimPolicy(TensorDictModuleBase):
    """AIM as a TensorDict policy for `ClipPPOLoss`.

    `forward` runs the frozen world once, without gradient, and denoises the action chunk. It writes, per decision and
    with leading batch axes `*`:

    - `action` f32 [*, execute, 16]: endposes for the environment's "ee" mode;
    - `commanded_tcp` f32 [*, horizon, 2, 3]: tool centres of the commanded poses (m, world), of the whole chunk,
      because that is what the maps span;
    - `value_map` f32 [*, F, 3, h, w]: the head camera's tile of the predicted value maps;
    - `chain` f32 [*, K+1, waypoints, 14]: the denoising chain, start first;
    - `sample` f32 [*, S, executed waypoints, 14]: what the S random denoising steps drew, only the waypoints that are
      executed, because the others have no consequence that could be credited to them;
    - `sample_log_prob` f32 [*, S]: log-probability of `sample` per denoising step, summed over its last two axes;
    - `context_kv`, `context_keypoints`, `context_exists`, `proprio`: the world context that the update replays;
    - `version` i64 [*, 1]: how many updates the weights had seen.

    "flow_sde", "cps" and "flow_noise" draw noise in the denoising steps. "initial_noise" draws z, starts the ODE at
    a·z and executes what comes out: exploration stays among the chunks that demonstrations show (grasp now or wait,
    say), which noise added to a chunk does not. Its chain is the one from 0, which evaluation executes; to first
    order in z the executed chunk deviates from it by J z, and the antithetic half-difference of the chunks from a·z
    and -a·z is that deviation without its even part, hence without bias. Each denoising step's clean estimate is
    credited with it, cut to the length of a typical draw, under the isotropic N(x_t - t·v, (SPREAD·a)²): the
    likelihood under N(., a² J Jᵀ) would divide by the covariance, and leaving that out is the policy gradient
    preconditioned by it, as a natural gradient is.

    `get_dist` recomputes the S Gaussians in one batched call of the action head; it never touches the frozen
    streams, so an update costs the same at any world size.

    The model may be on a GPU: what `forward` reads goes there, what it writes goes where the observation is, and noise
    is drawn on the CPU (`flow.draw`). `get_dist` computes where its decisions are, which must be the model's device.

    A preset with history makes the policy one of a fixed batch of scenes: it remembers (`history`), row by row, what it
    saw and commanded since the row's `decision` was 0.

    Args:
        model: a trained AIM.
        execute: control steps executed per decision, at most the model's horizon.
        sampler: "initial_noise", "flow_sde", "cps" or "flow_noise" for exploration, "ode" for evaluation.
        noise_level: the samplers' `a`; `NOISE_LEVEL`'s by default.
        train_world: an ablation: the world streams are trained too. `get_dist` then encodes the world anew, from the
            observation, with gradient, and the maps that the reward reads change with the training.

    Raises:
        ValueError: the world streams of a preset with history: the past would have to be encoded anew as well.
    """

    model: AIM
    version: Tensor
    dist_sample_keys = ["sample"]  # noqa: RUF012
    log_prob_keys = ["sample_log_prob"]  # noqa: RUF012

    def __init__(
        self,
        model: AIM,
        execute: int,
        sampler: Sampler = "ode",
        noise_level: float | None = None,
        train_world: bool = False,
    ) -> None:
        super().__init__()
        self.in_keys = [*OBSERVATION, "text", *(["decision"] if model.preset.history else [])]
        self.out_keys = [
            *("action", "commanded_tcp", "value_map", "chain", "sample", "sample_log_prob"),
            *("context_kv", "context_keypoints", "context_exists", "proprio", "version"),
        ]
        self.model = model
        self.execute = execute
        self.sampler: Sampler = sampler
        self.noise_level = noise_level = NOISE_LEVEL[sampler] if noise_level is None else noise_level
        self.register_buffer("version", torch.zeros((), dtype=torch.int64))  # a tensor: collectors share its memory
        self.executed_waypoints = -(-execute // model.preset.stride)
        self.history: History | None = None
        self.noise = None
        if sampler == "flow_noise":
            head = NoiseHead(PROPRIO_DIM, model.preset.n_waypoints, model.preset.action_dim, noise_level)
            self.noise = head.to(model.device)
        if train_world and model.preset.history:
            raise ValueError("the world streams of a preset with history cannot be trained in Stage II")
        self.train_world = train_world
        for parameter in model.world_parameters():
            parameter.requires_grad_(train_world)

    @property
    def trained(self) -> nn.Module:
        """The part of the model that Stage II trains."""
        return self.model if self.train_world else self.model.action

    def trained_parameters(self) -> Iterator[nn.Parameter]:
        """Those of `trained`, and of the exploration noise where it is learned."""
        yield from self.trained.parameters()
        if self.noise is not None:
            yield from self.noise.parameters()

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        model, preset = self.model, self.model.preset
        flat = tensordict.select(*self.in_keys).reshape(-1).to(model.device)
        observation = {key: flat[key] for key in OBSERVATION}
        history = self._recall(flat)
        _, imagined, context = model.imagine(observation, flat["text"], torch.Generator().manual_seed(0), history)
        maps = model.decode_maps(imagined)
        exists = context.exists
        if exists is None:
            exists = torch.ones(len(flat), context.kv.shape[-2], dtype=torch.bool, device=model.device)
        flat.update({"context_kv": context.kv, "context_keypoints": context.keypoints, "context_exists": exists})
        flat["proprio"] = proprio(observation)
        zero = torch.zeros(len(flat), preset.n_waypoints, preset.action_dim, device=model.device)
        if self.sampler == "initial_noise":
            start = self.noise_level * draw(zero.shape, zero)
            chains = self._denoise(flat, torch.stack([zero, start, -start], 1))
            flat["chain"], chunk = chains[:, :, 0], chains[:, -1, 1]
            deviation = ((chunk - chains[:, -1, 2]) / 2)[:, : self.executed_waypoints]
            distribution = self.get_dist(flat)
            # Bounded: where the flow turns from one way of acting to another, J z is many times its usual size.
            typical = SPREAD * self.noise_level * math.sqrt(deviation[0].numel())
            deviation = deviation * (typical / deviation.flatten(1).norm(dim=1).clamp_min(typical))[:, None, None]
            flat["sample"] = distribution.mean + deviation[:, None]
            flat["sample_log_prob"] = distribution.log_prob(flat["sample"])
        elif self.sampler == "ode":
            # From the flow's mean, 0, comes the chunk in the middle of its distribution: steadier in the simulator
            # than a draw from it, and the same whatever else was drawn before.
            flat["chain"] = self._denoise(flat, zero)
            chunk = flat["chain"][:, -1]
        else:
            flat["chain"] = self._denoise(flat, draw(zero.shape, zero))
            steps = random_steps(self.sampler, preset.action_steps)
            chunk, flat["sample"] = flat["chain"][:, -1], flat["chain"][:, 1:][:, steps, : self.executed_waypoints]
            flat["sample_log_prob"] = self.get_dist(flat).log_prob(flat["sample"])
        if history is not None:
            self.history = model.remember(history, model.observation_kv(context), chunk[:, : preset.n_past])
        actions, commanded_tcp = decode_waypoints(flat["qpos"], model.waypoints.denormalise(chunk), preset.horizon)
        rows, columns = preset.head_tile
        flat["action"], flat["commanded_tcp"] = actions[:, : self.execute].float(), commanded_tcp.float()
        flat["value_map"] = maps[..., :rows, :columns]
        flat["version"] = self.version.expand(len(flat), 1).clone()
        written = flat.select(*self.out_keys, strict=False).reshape(tensordict.shape)
        return tensordict.update(written.to(tensordict["qpos"].device))

    def get_dist(self, tensordict: TensorDictBase) -> Independent:
        """The Gaussians of the S random denoising steps: batch [*, S], event [executed waypoints, 14]."""
        flat = tensordict.reshape(-1)
        preset = self.model.preset
        sampler = self.sampler
        steps = slice(None) if sampler == "initial_noise" else random_steps(sampler, preset.action_steps)
        x_t = flat["chain"][:, :-1][:, steps]
        times = time_grid(preset.action_steps, preset.shift_action).to(x_t)
        t, t_next = (times[:-1][steps, None, None], times[1:][steps, None, None])
        every = t[:, 0, 0].expand(len(x_t), -1)
        if self.train_world:
            flat = flat.copy().update(self._encode_world(flat))
        v = self._velocity(flat, x_t, every)
        if sampler == "initial_noise":
            mean, std = x_t - t * v, torch.full_like(t, SPREAD * self.noise_level)
        else:
            level = self.noise_level if self.noise is None else self._noise(flat, every)
            mean, std = step_distribution(sampler, x_t, v, t, t_next, level)
        mean, std = (moment[:, :, : self.executed_waypoints] for moment in (mean, std.expand_as(mean)))
        shape = (*tensordict.shape, *mean.shape[1:])
        return Independent(Normal(mean.reshape(shape), std.reshape(shape)), 2)

    def _velocity(self, flat: TensorDictBase, x_t: Tensor, t: Tensor) -> Tensor:
        exists = flat["context_exists"] if self.model.preset.history else None
        context = WorldContext(flat["context_kv"], flat["context_keypoints"], exists)
        return self.model.action_velocity(context, flat["proprio"], x_t, t)

    def _denoise(self, flat: TensorDictBase, start: Tensor) -> Tensor:
        """The chain [B, K+1, ..., waypoints, 14] from `start` [B, ..., waypoints, 14]."""
        preset, sampler = self.model.preset, self.sampler
        step_sampler = "ode" if sampler == "initial_noise" else sampler
        velocity = functools.partial(self._velocity, flat)
        level = self.noise_level if self.noise is None else functools.partial(self._noise, flat)
        return sample_chain(velocity, start, preset.action_steps, step_sampler, level, shift=preset.shift_action)

    def _noise(self, flat: TensorDictBase, t: Tensor) -> Tensor:
        """Learned standard deviation [B, ..., waypoints, 14] at times t [B, ...]."""
        assert self.noise is not None
        return self.noise(self.model.proprio_stats.normalise(flat["proprio"]), t)

    def _encode_world(self, flat: TensorDictBase) -> dict[str, Tensor]:
        """The world context of `forward`, with gradient."""
        observation = {key: flat[key] for key in OBSERVATION}
        *_, context = self.model.imagine(observation, flat["text"], torch.Generator().manual_seed(0))
        return {"context_kv": context.kv, "context_keypoints": context.keypoints}

    def _recall(self, flat: TensorDictBase) -> History | None:
        """What each row remembers: nothing where an episode begins."""
        preset = self.model.preset
        if not preset.history:
            return None
        history = self.history
        if history is None or len(history.filled) != len(flat):
            history = empty_history(preset, len(flat), self.model.x.head.weight)
        return history.forget(flat["decision"][:, 0] == 0)

"""The policy that TorchRL collects with and updates: frozen world streams, stochastic action head."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from aim_rl.model import AIM, WorldContext, proprio
from aim_rl.model.flow import time_grid
from aim_rl.model.history import History, empty_history
from aim_rl.model.sampler import NoiseHead
from aim_rl.model.waypoints import decode_waypoints
from aim_rl.rl.exploration import NOISE_LEVEL, Sampler, make_exploration
from envs.constants import CAMERAS

OBSERVATION = (*CAMERAS, "qpos", "qpos_measured", "left_endpose", "right_endpose")


class AimPolicy(TensorDictModuleBase):
    """AIM as a TensorDict policy for `ClipPPOLoss`.

    `forward` runs the frozen world once, without gradient, and denoises the action chunk. It writes, per decision and
    with leading batch axes `*`:

    - `action` f32 [*, execute, 16]: end-effector poses for the environment's "ee" mode;
    - `chunk` f32 [*, waypoints, 14]: the normalised waypoints that `action` comes from;
    - `commanded_tcp` f32 [*, horizon, 2, 3]: TCP positions of the commanded poses (m, world frame) of the whole chunk,
      which is what the maps span;
    - `value_map` f32 [*, F, 3, h, w]: the head camera's tile of the predicted value maps;
    - `chain` f32 [*, K+1, waypoints, 14]: the denoising chain, start first;
    - `sample` f32 [*, S, executed waypoints, 14]: what the S random denoising steps drew, for the executed waypoints;
    - `sample_log_prob` f32 [*, S]: log-probability of `sample` per denoising step, summed over its last two axes;
    - `context_kv`, `context_keypoints`, `context_exists`, `proprio`: the world context that the update replays;
    - `version` i64 [*, 1]: how many updates the weights had seen.

    `get_dist` recomputes the S Gaussians in one batched call of the action head. It never runs the frozen streams, so
    the cost of an update does not depend on the size of the world model.

    The model may be on a GPU: `forward` moves its input there and its output back to the observation's device; noise
    is drawn on the CPU (`flow.draw`). `get_dist` computes where its decisions are, which must be the model's device.

    With a preset with history the policy acts in a fixed batch of environments: per row it remembers (`history`) what
    it saw and commanded since the row's `decision` was 0.

    Args:
        model: a trained AIM.
        execute: control steps executed per decision, at most the model's horizon.
        sampler: "initial_noise", "flow_sde", "cps" or "flow_noise" for exploration, "ode" for evaluation.
        noise_level: the sampler's `a`; by default that of `aim_rl.rl.exploration.NOISE_LEVEL`.
        train_world: ablation: the world streams are trained too. `get_dist` then encodes the observation again, with
            gradient, and the maps that the reward reads change with the training.

    Raises:
        ValueError: `train_world` with a preset with history, whose past would have to be encoded again as well.
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
        if train_world and model.preset.history:
            raise ValueError("the world streams of a preset with history cannot be trained in Stage II")
        self.in_keys = [*OBSERVATION, "text", *(["decision"] if model.preset.history else [])]
        self.out_keys = [
            *("action", "chunk", "commanded_tcp", "value_map", "chain", "sample", "sample_log_prob"),
            *("context_kv", "context_keypoints", "context_exists", "proprio", "version"),
        ]
        self.model = model
        self.execute = execute
        self.noise_level = NOISE_LEVEL[sampler] if noise_level is None else noise_level
        self.executed_waypoints = -(-execute // model.preset.stride)
        exploration = make_exploration(model.preset, sampler, self.noise_level, self.executed_waypoints)
        self.exploration = exploration.to(model.device)
        self.register_buffer("version", torch.zeros((), dtype=torch.int64))  # a tensor: collectors share its memory
        self.history: History | None = None
        self.train_world = train_world
        for parameter in model.world_parameters():
            parameter.requires_grad_(train_world)

    @property
    def trained(self) -> nn.Module:
        """The part of the model that Stage II trains."""
        return self.model if self.train_world else self.model.action

    @property
    def noise(self) -> NoiseHead | None:
        """The learned exploration noise, if the sampler has one."""
        return self.exploration.noise

    def trained_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of `trained` and `noise`."""
        yield from self.trained.parameters()
        yield from self.exploration.parameters()

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        model, preset = self.model, self.model.preset
        flat = tensordict.select(*self.in_keys).reshape(-1).to(model.device)
        history = self._recall(flat)
        context = self._look(flat, history)
        zero = torch.zeros(len(flat), preset.n_waypoints, preset.action_dim, device=model.device)
        velocity = functools.partial(self._velocity, flat)
        flat["chain"], chunk, drawn = self.exploration(velocity, zero, self._state(flat))
        flat["chunk"] = chunk
        if drawn is not None:
            distribution = self.get_dist(flat)
            flat["sample"] = self.exploration.sample(drawn, distribution.mean)
            flat["sample_log_prob"] = distribution.log_prob(flat["sample"])
        if history is not None:
            self.history = model.remember(history, model.observation_kv(context), chunk[:, : preset.n_past])
        actions, commanded_tcp = decode_waypoints(flat["qpos"], model.waypoints.denormalise(chunk), preset.horizon)
        flat["action"], flat["commanded_tcp"] = actions[:, : self.execute].float(), commanded_tcp.float()
        flat["version"] = self.version.expand(len(flat), 1).clone()
        written = flat.select(*self.out_keys, strict=False).reshape(tensordict.shape)
        return tensordict.update(written.to(tensordict["qpos"].device))

    def get_dist(self, tensordict: TensorDictBase) -> Independent:
        """The Gaussians of the S random denoising steps: batch [*, S], event [executed waypoints, 14]."""
        flat = tensordict.reshape(-1)
        preset, steps = self.model.preset, self.exploration.steps
        x_t = flat["chain"][:, :-1][:, steps]
        times = time_grid(preset.action_steps, preset.shift_action).to(x_t)
        t, t_next = (times[:-1][steps, None, None], times[1:][steps, None, None])
        if self.train_world:
            flat = flat.copy().update(self._encode_world(flat))
        v = self._velocity(flat, x_t, t[:, 0, 0].expand(len(x_t), -1))
        mean, std = self.exploration.moments(x_t, v, t, t_next, self._state(flat))
        mean, std = (moment[:, :, : self.executed_waypoints] for moment in (mean, std.expand_as(mean)))
        shape = (*tensordict.shape, *mean.shape[1:])
        return Independent(Normal(mean.reshape(shape), std.reshape(shape)), 2)

    def denoise(self, flat: TensorDictBase, start: Tensor) -> Tensor:
        """The chains [B, K+1, ..., waypoints, 14] from `start` [B, ..., waypoints, 14] of decisions `flat` [B]."""
        return self.exploration.denoise(functools.partial(self._velocity, flat), start, self._state(flat))

    def _look(self, flat: TensorDictBase, history: History | None) -> WorldContext:
        """Runs the world streams; writes the context and the maps into `flat` [B]."""
        model = self.model
        observation = {key: flat[key] for key in OBSERVATION}
        _, imagined, context = model.imagine(observation, flat["text"], torch.Generator().manual_seed(0), history)
        exists = context.exists
        if exists is None:
            exists = torch.ones(len(flat), context.kv.shape[-2], dtype=torch.bool, device=model.device)
        flat.update({"context_kv": context.kv, "context_keypoints": context.keypoints, "context_exists": exists})
        flat["proprio"] = proprio(observation)
        rows, columns = model.preset.head_tile
        flat["value_map"] = model.decode_maps(imagined)[..., :rows, :columns]
        return context

    def _state(self, flat: TensorDictBase) -> Tensor:
        """Normalised proprioception [B, 46]."""
        return self.model.proprio_stats.normalise(flat["proprio"])

    def _velocity(self, flat: TensorDictBase, x_t: Tensor, t: Tensor) -> Tensor:
        exists = flat["context_exists"] if self.model.preset.history else None
        context = WorldContext(flat["context_kv"], flat["context_keypoints"], exists)
        return self.model.action_velocity(context, flat["proprio"], x_t, t)

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

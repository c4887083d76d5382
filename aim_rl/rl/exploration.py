"""How Stage II explores: where the denoising of an action chunk draws noise, and how likely that draw was."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from aim_rl.model import PROPRIO_DIM, Preset, sample_chain, step_distribution
from aim_rl.model.flow import draw
from aim_rl.model.sampler import NoiseHead, StepSampler, random_steps
from envs.errors import UserError

Sampler = StepSampler | Literal["initial_noise"]
Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, ..., waypoints, 14], t [B, ...]) -> [B, ..., waypoints, 14]."""
NOISE_LEVEL: dict[Sampler, float] = {"initial_noise": 0.5, "flow_sde": 0.5, "cps": 0.5, "flow_noise": 0.16, "ode": 0.0}
"""Default `a` of each sampler; for flow_noise it bounds the standard deviation of a denoising step (`NoiseHead`)."""
SPREAD = 0.5
"""Standard deviation of initial_noise's likelihood per unit of noise: about twice the root mean square by which the
finished chunk of `small` deviates (0.26), because deviations have long tails."""


@dataclass(frozen=True, kw_only=True)
class ExplorationConfig:
    """How Stage II explores."""

    sampler: Literal["initial_noise", "flow_sde", "cps", "flow_noise"] = "initial_noise"
    """Where noise is drawn (aim_rl/model/sampler.py, aim_rl/rl/exploration.py)."""
    noise_level: float | None = None
    """The sampler's `a`; 0.5 by default, 0.16 for flow_noise."""

    def __post_init__(self) -> None:
        if self.noise_level is not None and self.noise_level <= 0:
            raise UserError("--exploration.noise-level must be above 0")


class Explored(NamedTuple):
    """A chunk that was sampled."""

    chain: Tensor
    """[B, K+1, waypoints, 14], the denoising chain whose likelihood is recomputed; its start first."""
    chunk: Tensor
    """[B, waypoints, 14], the normalised waypoints that are executed."""
    drawn: Tensor | None
    """What `Exploration.sample` makes the sample of; None without noise."""


class Exploration(nn.Module):
    """Draws noise in the denoising steps: "flow_sde", "cps", "flow_noise"; none with "ode", for evaluation.

    Args:
        preset: of the model.
        sampler: a row of `aim_rl.model.sampler`.
        noise_level: its `a`.
        executed: how many of a chunk's waypoints are executed. Only those are credited: the others have no consequence.

    Attributes:
        steps: which of the K denoising steps have a likelihood.
        noise: the learned standard deviation of flow_noise.
    """

    noise: NoiseHead | None

    def __init__(self, preset: Preset, sampler: StepSampler, noise_level: float, executed: int) -> None:
        super().__init__()
        self.preset, self.noise_level, self.executed = preset, noise_level, executed
        self.sampler: StepSampler = sampler
        self.steps = random_steps(sampler, preset.action_steps)
        self.noise = None
        if sampler == "flow_noise":
            self.noise = NoiseHead(PROPRIO_DIM, preset.n_waypoints, preset.action_dim, noise_level)

    def forward(self, velocity: Velocity, zero: Tensor, state: Tensor) -> Explored:
        """Samples chunks.

        Args:
            velocity: the flow of these decisions.
            zero: [B, waypoints, 14], the mean of the flow's start.
            state: [B, 46], normalised proprioception.
        """
        if self.sampler == "ode":
            # From the flow's mean, 0, comes the chunk in the middle of its distribution: steadier in the simulator
            # than a draw from it, and independent of earlier draws.
            chain = self.denoise(velocity, zero, state)
            return Explored(chain, chain[:, -1], None)
        chain = self.denoise(velocity, draw(zero.shape, zero), state)
        return Explored(chain, chain[:, -1], chain[:, 1:][:, self.steps, : self.executed])

    def sample(self, drawn: Tensor, mean: Tensor) -> Tensor:
        """The sample [B, S, executed, 14] whose log-probability is stored, given the likelihood's mean."""
        return drawn

    def moments(self, x_t: Tensor, v: Tensor, t: Tensor, t_next: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [B, S, waypoints, 14] and standard deviation (broadcastable to it) of the S steps in `steps`.

        Args:
            x_t, v: [B, S, waypoints, 14], the chain before each step and the velocity there.
            t, t_next: [S, 1, 1], times before and after each step.
            state: as in `forward`.
        """
        level = self.noise_level if self.noise is None else self.noise(state, t[:, 0, 0].expand(len(x_t), -1))
        return step_distribution(self.sampler, x_t, v, t, t_next, level)

    def denoise(self, velocity: Velocity, start: Tensor, state: Tensor) -> Tensor:
        """The chain [B, K+1, ..., waypoints, 14] from `start` [B, ..., waypoints, 14]."""
        level = self.noise_level if self.noise is None else functools.partial(self.noise, state)
        steps, shift = self.preset.action_steps, self.preset.shift_action
        return sample_chain(velocity, start, steps, self.sampler, level, shift=shift)


class InitialNoise(Exploration):
    """Draws z, starts the ODE at a·z and executes its end.

    Exploration stays among the chunks that demonstrations show (grasp now or wait, say); noise added to a chunk does
    not. The stored chain is the one from 0, which evaluation executes. To first order in z the executed chunk deviates
    from it by J z, and the antithetic half-difference of the chunks from a·z and -a·z estimates that deviation without
    its even part, hence without bias. Each denoising step's clean estimate is credited with it, cut to the length of a
    typical draw, under the isotropic N(x_t - t·v, (SPREAD·a)²). The likelihood under N(., a² J Jᵀ) would divide by the
    covariance; leaving that out is the policy gradient preconditioned by it, as a natural gradient is.
    """

    def __init__(self, preset: Preset, noise_level: float, executed: int) -> None:
        super().__init__(preset, "ode", noise_level, executed)
        self.steps = slice(None)

    def forward(self, velocity: Velocity, zero: Tensor, state: Tensor) -> Explored:
        start = self.noise_level * draw(zero.shape, zero)
        chains = self.denoise(velocity, torch.stack([zero, start, -start], 1), state)
        chunk = chains[:, -1, 1]
        deviation = ((chunk - chains[:, -1, 2]) / 2)[:, : self.executed]
        # Bounded: where the flow turns from one way of acting to another, J z is many times its usual size.
        typical = SPREAD * self.noise_level * math.sqrt(deviation[0].numel())
        deviation = deviation * (typical / deviation.flatten(1).norm(dim=1).clamp_min(typical))[:, None, None]
        return Explored(chains[:, :, 0], chunk, deviation)

    def sample(self, drawn: Tensor, mean: Tensor) -> Tensor:
        return mean + drawn[:, None]

    def moments(self, x_t: Tensor, v: Tensor, t: Tensor, t_next: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return x_t - t * v, torch.full_like(t, SPREAD * self.noise_level)


def make_exploration(preset: Preset, sampler: Sampler, noise_level: float, executed: int) -> Exploration:
    """The exploration of that name; arguments as in `Exploration`."""
    if sampler == "initial_noise":
        return InitialNoise(preset, noise_level, executed)
    return Exploration(preset, sampler, noise_level, executed)

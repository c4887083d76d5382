"""Samplers of the action's denoising chain: one Gaussian step from t to t_next = t - d (docs/learning.md).

With x0 = x_t - t·v and x1 = x_t + (1-t)·v:

ode       mean = (1-t_next)·x0 + t_next·x1, std = 0
flow_sde  s = a·sqrt(t/(1-t)) (t = 1: the denominator takes t_next),
          mean = (1-t_next)·x0 + (t_next - s²·d/(2t))·x1, std = sqrt(d)·s
cps       mean = (1-t_next)·x0 + t_next·cos(pi·a/2)·x1, std = t_next·sin(pi·a/2) (0 in the last step)
flow_noise  mean as ode, std = a, which may be learned (`NoiseHead`; ReinFlow, arXiv 2505.22094)

`initial_noise` draws the start of denoising, a·N(0, 1) (a = 1 samples the flow), and then follows the ODE
(`AimPolicy`).
"""

import itertools
import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from aim_rl.model.flow import draw, time_grid

StepSampler = Literal["ode", "flow_sde", "cps", "flow_noise"]
STEP_SAMPLERS: tuple[str, ...] = get_args(StepSampler)


class NoiseHead(nn.Module):
    """Learned standard deviation of `flow_noise`, from the time and the robot's state.

    σ = exp(lerp(log a/2, log a, (tanh(net) + 1) / 2)) lies in [a/2, a], as in ReinFlow, where a = 0.16. It starts at
    the geometric mean of the two and is not used in evaluation.

    Args:
        features: size of the state.
        waypoints, action_dim: shape of an action chunk.
        noise_level: the upper bound a.
    """

    def __init__(self, features: int, waypoints: int, action_dim: int, noise_level: float) -> None:
        super().__init__()
        self.shape, self.noise_level = (waypoints, action_dim), noise_level
        self.network = nn.Sequential(nn.Linear(features + 1, 64), nn.Tanh(), nn.Linear(64, waypoints * action_dim))
        nn.init.zeros_(self.network[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.network[-1].bias)  # pyright: ignore[reportArgumentType]

    def forward(self, state: Tensor, t: Tensor) -> Tensor:
        """state [B, features], t [B, ...] -> [B, ..., waypoints, action_dim]."""
        state = state.reshape(len(state), *(1,) * (t.ndim - 1), -1).expand(*t.shape, -1)
        share = (self.network(torch.cat([state, t[..., None]], -1)).tanh() + 1) / 2
        return (self.noise_level * 2 ** (share - 1)).unflatten(-1, self.shape)


def random_steps(sampler: StepSampler, steps: int) -> slice:
    """Which of the K denoising steps are random; the others have no likelihood."""
    match sampler:
        case "ode":
            return slice(0, 0)
        case "flow_sde" | "flow_noise":
            return slice(0, steps)
        case "cps":
            return slice(0, steps - 1)


def step_distribution(
    sampler: StepSampler, x_t: Tensor, v: Tensor, t: Tensor, t_next: Tensor, noise_level: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Mean [..., 4, 14] and standard deviation (broadcastable to it) of x at t_next.

    x_t, v [..., 4, 14]; t, t_next in [0, 1] broadcast against them; noise_level is `a` above, for flow_noise also a
    tensor with one `a` per number.
    """
    x0, x1 = x_t - t * v, x_t + (1 - t) * v
    match sampler:
        case "ode":
            return (1 - t_next) * x0 + t_next * x1, torch.zeros_like(t)
        case "flow_sde":
            step = t - t_next
            s = noise_level * (t / (1 - torch.where(t == 1, t_next, t))).sqrt()
            return (1 - t_next) * x0 + (t_next - s**2 * step / (2 * t)) * x1, step.sqrt() * s
        case "cps":
            angle = math.pi * float(noise_level) / 2
            return (1 - t_next) * x0 + t_next * math.cos(angle) * x1, t_next * math.sin(angle)
        case "flow_noise":
            return (1 - t_next) * x0 + t_next * x1, noise_level * torch.ones_like(t)


def sample_chain(
    velocity_fn: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    steps: int,
    sampler: StepSampler = "ode",
    noise_level: float | Callable[[Tensor], Tensor] = 0.0,
    generator: torch.Generator | None = None,
    shift: float = 1.0,
) -> Tensor:
    """Denoises `noise` [B, ..., 4, 14] from t = 1 to 0; returns the chain [B, steps+1, ..., 4, 14], noise first.

    velocity_fn(x_t [B, ..., 4, 14], t [B, ...]) -> [B, ..., 4, 14]; noise_level may be a function of t [B, ...].
    """
    chain, perturbations = [noise], [draw(noise.shape, noise, generator) for _ in range(steps)]
    times = time_grid(steps, shift, noise.device).to(noise.dtype)
    for (t, t_next), perturbation in zip(itertools.pairwise(times), perturbations, strict=True):
        times = t.expand(noise.shape[:-2])
        level = noise_level(times) if callable(noise_level) else noise_level
        mean, std = step_distribution(sampler, chain[-1], velocity_fn(chain[-1], times), t, t_next, level)
        chain.append(mean + std * perturbation)
    return torch.stack(chain, 1)

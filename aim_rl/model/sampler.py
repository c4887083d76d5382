"""Samplers on the action's denoising chain (notes/rl.md): one Gaussian step from t to t_next = t - d.

With x0 = x_t - t·v and x1 = x_t + (1-t)·v:

ode       mean = (1-t_next)·x0 + t_next·x1, std = 0
flow_sde  s = a·sqrt(t/(1-t)) (t = 1: the denominator takes t_next),
          mean = (1-t_next)·x0 + (t_next - s²·d/(2t))·x1, std = sqrt(d)·s
cps       mean = (1-t_next)·x0 + t_next·cos(pi·a/2)·x1, std = t_next·sin(pi·a/2) (0 in the last step)
gaussian  ode, and std = a in the last step: noise on the finished chunk, so the ODE's chunk is the mode of the policy
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from aim_rl.model.flow import time_grid

Sampler = Literal["ode", "flow_sde", "cps", "gaussian"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)


def random_steps(sampler: Sampler, steps: int) -> slice:
    """Which of the K denoising steps draw noise; the others have no likelihood."""
    match sampler:
        case "ode":
            return slice(0, 0)
        case "flow_sde":
            return slice(0, steps)
        case "cps":
            return slice(0, steps - 1)
        case "gaussian":
            return slice(steps - 1, steps)


def step_distribution(
    sampler: Sampler, x_t: Tensor, v: Tensor, t: Tensor, t_next: Tensor, noise_level: float
) -> tuple[Tensor, Tensor]:
    """Mean [..., 4, 14] and standard deviation (broadcastable to it) of x at t_next.

    x_t, v [..., 4, 14]; t, t_next in [0, 1] broadcast against them; noise_level is the `a` above.
    """
    x0, x1 = x_t - t * v, x_t + (1 - t) * v
    match sampler:
        case "ode":
            return (1 - t_next) * x0 + t_next * x1, torch.zeros_like(t)
        case "flow_sde":
            step = t - t_next
            s = noise_level * (t / (1 - torch.where(t == 1, t_next, t))).sqrt()
            return (1 - t_next) * x0 + (t_next - s**2 * step / (2 * t)) * x1, step.sqrt() * s
        case "gaussian":
            return (1 - t_next) * x0 + t_next * x1, torch.where(t_next == 0, noise_level, 0.0).to(x_t)
        case "cps":
            angle = math.pi * noise_level / 2
            return (1 - t_next) * x0 + t_next * math.cos(angle) * x1, t_next * math.sin(angle)


def sample_chain(
    velocity_fn: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    steps: int,
    sampler: Sampler = "ode",
    noise_level: float = 0.0,
    generator: torch.Generator | None = None,
    shift: float = 1.0,
    explored: Sequence[int] | None = None,
) -> Tensor:
    """Denoises `noise` [B, 4, 14] from t = 1 to 0; returns the chain [B, steps+1, 4, 14], noise first.

    velocity_fn(x_t [B, 4, 14], t [B]) -> [B, 4, 14]. Steps draw noise on the `explored` of the 14 numbers, or on all.
    """
    chain = [noise]
    for t, t_next in itertools.pairwise(time_grid(steps, shift, noise.device).to(noise.dtype)):
        v = velocity_fn(chain[-1], t.expand(len(noise)))
        mean, std = step_distribution(sampler, chain[-1], v, t, t_next, noise_level)
        kick = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        if explored is not None:
            kick = torch.zeros_like(kick).index_copy(
                -1, torch.tensor(explored, device=kick.device), kick[..., explored]
            )
        chain.append(mean + std * kick)
    return torch.stack(chain, 1)

"""Flow matching: noise at t = 1, data at t = 0, x_t = (1-t)·x0 + t·eps, velocity v = eps - x0 (docs/method.md)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def expand_time(t: Tensor, like: Tensor) -> Tensor:
    """Times [B, ...] with trailing axes of size 1 added, to broadcast against `like`."""
    return t.reshape(t.shape + (1,) * (like.ndim - t.ndim))


def interpolate(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = (1-t)·x0 + t·noise, with t [B, ...] over the leading axes."""
    return torch.lerp(x0, noise, expand_time(t, x0))


def shift_time(u: Tensor, shift: float) -> Tensor:
    """t = shift·u / (1 + (shift-1)·u): shift > 1 puts more of [0, 1] near the noise."""
    return shift * u / (1 + (shift - 1) * u)


def draw(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """N(0, 1), in the dtype and on the device of `like`.

    Drawn on the generator's device, by default the CPU, so that a seed gives the same noise on every machine.
    """
    where = torch.device("cpu") if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=where).to(like.device)


def time_grid(steps: int, shift: float = 1.0, device: torch.device | None = None) -> Tensor:
    """Times [steps+1] from 1 to 0."""
    return shift_time(torch.linspace(1, 0, steps + 1, device=device), shift)


def velocity(raw: Tensor, x_t: Tensor, t: Tensor, data_rms: float | None) -> Tensor:
    """Velocity from a network output `raw` of unit scale, for data of root mean square `data_rms` = s.

    v = (t - (1-t)s²)/D · x_t - s/sqrt(D) · raw with D = (1-t)²s² + t²: the linear estimate of v from x_t plus a
    learned remainder (the preconditioning of Karras et al. 2022, for this path). A stream of width 96 cannot carry the
    noise of a token of 1536 numbers; with this form it need not, and at t = 1 the clean estimate x_1 - v is s·raw.
    With data_rms None, `raw` is the velocity, as in Wan.
    """
    if data_rms is None:
        return raw
    t = expand_time(t, x_t)
    power = (1 - t) ** 2 * data_rms**2 + t**2
    linear = (t - (1 - t) * data_rms**2) / power * x_t
    return torch.addcmul(linear, raw, data_rms / power.sqrt(), value=-1)

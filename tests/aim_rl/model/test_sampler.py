"""Samplers against hand numbers and against the flow they discretise."""

import math

import pytest
import torch

from aim_rl.model import STEP_SAMPLERS, sample_chain, step_distribution
from aim_rl.model.flow import time_grid
from aim_rl.model.sampler import NoiseHead, StepSampler, random_steps

# One number: x_t = 1, v = 0.4 at t = 0.5, so x0 = 0.8 and x1 = 1.2; t_next = 0.25, a = 0.6.
HAND = {
    "ode": (0.75 * 0.8 + 0.25 * 1.2, 0.0),
    # s = 0.6, s²·d/(2t) = 0.36·0.25/1 = 0.09
    "flow_sde": (0.75 * 0.8 + (0.25 - 0.09) * 1.2, 0.5 * 0.6),
    # cos(0.3·pi) = 0.587785, sin(0.3·pi) = 0.809017
    "flow_noise": (0.75 * 0.8 + 0.25 * 1.2, 0.6),
    "cps": (0.75 * 0.8 + 0.25 * 0.587785 * 1.2, 0.25 * 0.809017),
}


@pytest.mark.parametrize("sampler", STEP_SAMPLERS)
def test_step_matches_hand_numbers(sampler: str) -> None:
    x, v, t, t_next = (torch.tensor(value) for value in (1.0, 0.4, 0.5, 0.25))
    mean, std = step_distribution(sampler, x, v, t, t_next, 0.6)
    expected_mean, expected_std = HAND[sampler]
    assert mean.item() == pytest.approx(expected_mean, abs=1e-5)
    assert std.item() == pytest.approx(expected_std, abs=1e-5)


def test_flow_sde_is_finite_at_pure_noise_and_random_in_the_last_step() -> None:
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    first = step_distribution("flow_sde", one, one, one, torch.tensor(0.75), 0.5)
    # s² = 0.25·1/(1-0.75) = 1, x0 = 0, x1 = 1: mean = 0.75 - 1·0.25/2, std = sqrt(0.25)
    assert [value.item() for value in first] == pytest.approx([0.625, 0.5])
    _, last = step_distribution("flow_sde", one, one, torch.tensor(0.25), zero, 0.5)
    assert last > 0


@pytest.mark.parametrize("sampler", STEP_SAMPLERS)
def test_exactly_the_random_steps_have_a_spread(sampler: StepSampler) -> None:
    """A step without spread has no likelihood, and one with it must not be forgotten."""
    grid = time_grid(4)
    x = torch.ones(4)
    _, std = step_distribution(sampler, x, x, grid[:-1], grid[1:], 0.3)
    drawn = torch.zeros(4, dtype=torch.bool)
    drawn[random_steps(sampler, 4)] = True
    assert ((std > 1e-6) == drawn).all()


@pytest.mark.parametrize("sampler", STEP_SAMPLERS)
def test_without_noise_every_sampler_is_the_ode(sampler: str) -> None:
    x, v = torch.randn(2, 3, 4, 14)
    t = torch.tensor([1.0, 0.75, 0.5])[:, None, None]
    mean, std = step_distribution(sampler, x, v, t, t - 0.25, 0.0)
    torch.testing.assert_close(mean, x - 0.25 * v)
    assert (std == 0).all()


def test_chain_of_a_straight_flow_ends_at_the_data() -> None:
    data, noise = torch.randn(2, 5, 4, 14)
    times = []

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        times.append(t[0].item())
        return noise - data

    chain = sample_chain(velocity, noise, 4)
    assert chain.shape == (5, 5, 4, 14)
    assert times == [1.0, 0.75, 0.5, 0.25]
    assert torch.equal(chain[:, 0], noise)
    torch.testing.assert_close(chain[:, -1], data)


def test_flow_sde_keeps_the_marginals_of_the_flow() -> None:
    """Data N(0, 0.5²), exact velocity: many small noisy steps must still end with spread 0.5."""
    noise = torch.randn(4000, 1, 1, generator=torch.Generator().manual_seed(0))

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        t = t[:, None, None]
        power = (1 - t) ** 2 * 0.25 + t**2
        return (t - (1 - t) * 0.25) / power * x

    generator = torch.Generator().manual_seed(1)
    chain = sample_chain(velocity, noise, 200, "flow_sde", 0.5, generator)
    assert chain[:, -1].std().item() == pytest.approx(0.5, abs=0.03)


def exact_velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Of the flow to data N(0.3, 0.5²): v = eps - x0 given x_t, for x [N, 1, 1] and t [N]."""
    t = t[:, None, None]
    power = (1 - t) ** 2 * 0.25 + t**2
    return (t - (1 - t) * 0.25) / power * (x - (1 - t) * 0.3) - 0.3


@pytest.mark.parametrize("sampler", STEP_SAMPLERS)
def test_every_step_of_a_chain_is_drawn_as_its_formula_says(sampler: StepSampler) -> None:
    """Step by step, what was drawn minus the formula's mean, over the formula's spread, is a standard normal draw."""
    count, steps, a = 20_000, 4, 0.6
    start = torch.randn(count, 1, 1, generator=torch.Generator().manual_seed(2))
    chain = sample_chain(exact_velocity, start, steps, sampler, a, torch.Generator().manual_seed(3))
    for k in range(steps):
        t, t_next = 1 - k / steps, 1 - (k + 1) / steps
        x, drawn = chain[:, k], chain[:, k + 1]
        v = exact_velocity(x, torch.full((count,), t))
        x0, x1, d = x - t * v, x + (1 - t) * v, t - t_next
        s = a * math.sqrt(t / (1 - min(t, 0.75)))
        mean, std = {
            "ode": ((1 - t_next) * x0 + t_next * x1, 0.0),
            "flow_sde": ((1 - t_next) * x0 + (t_next - s**2 * d / (2 * t)) * x1, math.sqrt(d) * s),
            "cps": (
                (1 - t_next) * x0 + t_next * math.cos(math.pi * a / 2) * x1,
                t_next * math.sin(math.pi * a / 2),
            ),
            "flow_noise": ((1 - t_next) * x0 + t_next * x1, a),
        }[sampler]
        residual = drawn - mean
        if std == 0:
            assert residual.abs().max() < 1e-5
            continue
        residual = residual / std
        assert residual.mean().item() == pytest.approx(0, abs=4 / math.sqrt(count))
        assert residual.std().item() == pytest.approx(1, abs=4 / math.sqrt(2 * count))
        correlation = torch.corrcoef(torch.stack([residual.flatten(), x.flatten()]))[0, 1]
        assert correlation.abs() < 4 / math.sqrt(count)  # the noise does not know where it is added


def test_flow_sde_keeps_every_marginal_of_the_ode() -> None:
    """Not the last one alone: at t, data N(0.3, 0.5²) has become N((1-t)·0.3, ((1-t)·0.5)² + t²)."""
    steps = 200
    noise = torch.randn(8000, 1, 1, generator=torch.Generator().manual_seed(0))
    for sampler in ("ode", "flow_sde"):
        chain = sample_chain(exact_velocity, noise, steps, sampler, 0.5, torch.Generator().manual_seed(1))
        for k in (50, 100, 150, 200):
            t = 1 - k / steps
            spread = math.sqrt(0.25 * (1 - t) ** 2 + t**2)
            assert chain[:, k].mean().item() == pytest.approx(0.3 * (1 - t), abs=0.03), (sampler, t)
            assert chain[:, k].std().item() == pytest.approx(spread, abs=0.03), (sampler, t)


def test_the_noise_head_starts_in_the_middle_and_keeps_its_bounds() -> None:
    head = NoiseHead(features=3, waypoints=4, action_dim=14, noise_level=0.16)
    state, t = torch.randn(5, 3), torch.rand(5, 7)
    std = head(state, t)
    assert std.shape == (5, 7, 4, 14)
    torch.testing.assert_close(std, torch.full_like(std, 0.16 / 2**0.5))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=20)
    std = head(state, t)
    assert std.min() >= 0.08 - 1e-6 and std.max() <= 0.16 + 1e-6
    assert std.min() < 0.081 and std.max() > 0.159  # and reaches them
    torch.testing.assert_close(head(state[:1], t[:1, 2:3]), std[:1, 2:3])  # each draw by its own state and time

"""The model as its users see it: shapes, losses, freezing, draws."""

from dataclasses import replace

import pytest
import torch

from aim_rl.data.decoding import STD_FLOOR
from aim_rl.model import AIM, PRESETS, Normaliser, Preset, map_peak_error, proprio, sample_chain
from aim_rl.model.flow import interpolate, velocity

from .conftest import observation, randomised, training_batch


def test_imagination_has_the_shapes_of_the_preset(tiny: Preset) -> None:
    model, obs = AIM(tiny), observation(tiny, 3)
    x, m, context = model.imagine(obs, training_batch(tiny, 3)["text"])
    rgb, maps = model.decode_rgb(x, obs), model.decode_maps(m)
    assert rgb.shape == maps.shape == (3, tiny.frames, 3, *tiny.canvas)
    assert maps.min() >= 0 and maps.max() <= 1
    tokens = tiny.n_obs + tiny.n_future
    assert context.kv.shape == (3, tiny.depth, 2, tiny.heads, tokens, tiny.head_dim)
    assert context.keypoints.shape == (3, 9 * tiny.keypoints)


def test_imagination_repeats_with_the_generator_and_takes_several_steps(tiny: Preset) -> None:
    model = randomised(replace(tiny, world_steps=3))
    batch = training_batch(tiny, 2)
    first, second = (model.imagine(batch, batch["text"], torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first[1], second[1]) and torch.equal(first[2].kv, second[2].kv)


def test_every_parameter_belongs_to_exactly_one_half(tiny: Preset) -> None:
    model = AIM(tiny)
    world, action = set(model.world_parameters()), set(model.action.parameters())
    assert not world & action
    assert world | action == set(model.parameters())


def test_small_weights_fit_in_8_megabytes_of_fp16() -> None:
    assert 2 * sum(tensor.numel() for tensor in AIM(PRESETS["small"]).state_dict().values()) <= 8e6


def test_stage_one_reaches_every_weight(tiny: Preset) -> None:
    """A layer without gradient is a layer that is not wired in."""
    model = randomised(tiny)
    model.loss(training_batch(tiny, 2))["loss"].backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unused == []


def test_stage_two_leaves_the_world_alone(tiny: Preset) -> None:
    model, batch = randomised(tiny), training_batch(tiny, 2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.action.parameters(), lr=1e-2)
    with torch.no_grad():
        _, _, context = model.imagine(batch, batch["text"])
    model.action_loss(context, batch).backward()
    assert all(p.grad is None for p in model.world_parameters())
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(name.startswith("action.") for name in moved)


def test_training_lowers_every_loss(tiny: Preset) -> None:
    torch.manual_seed(0)
    model, batch = AIM(tiny), training_batch(tiny, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def losses() -> dict[str, float]:
        with torch.no_grad():
            return {k: v.item() for k, v in model.loss(batch, torch.Generator().manual_seed(0)).items()}

    before = losses()
    for _ in range(40):
        optimizer.zero_grad()
        model.loss(batch)["loss"].backward()
        optimizer.step()
    assert all(value < 0.9 * before[name] for name, value in losses().items())


def test_draws_of_one_context_do_not_see_each_other(tiny: Preset) -> None:
    model, obs = randomised(tiny), observation(tiny, 2)
    _, _, context = model.imagine(obs, training_batch(tiny, 2)["text"])
    waypoints, t = torch.randn(2, 5, tiny.n_waypoints, 14), torch.rand(2, 5)
    together = model.action_velocity(context, proprio(obs), waypoints, t)
    for r in range(5):
        alone = model.action_velocity(context, proprio(obs), waypoints[:, r], t[:, r])
        torch.testing.assert_close(together[:, r], alone, atol=1e-5, rtol=1e-5)


def test_chain_velocities_can_be_recomputed_in_one_call(tiny: Preset) -> None:
    """What Stage II's likelihood rests on: all denoising steps of a chain as draws of one context."""
    model, obs = randomised(tiny), observation(tiny, 2)
    _, _, context = model.imagine(obs, training_batch(tiny, 2)["text"])
    state, seen = proprio(obs), []

    def step(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append((model.action_velocity(context, state, x, t), t))
        return seen[-1][0]

    chain = sample_chain(step, torch.randn(2, tiny.n_waypoints, 14), 4, "flow_sde", 0.5)
    velocities, times = (torch.stack(column, 1) for column in zip(*seen, strict=True))
    again = model.action_velocity(context, state, chain[:, :-1], times)
    torch.testing.assert_close(again, velocities, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rms", [0.5, 1.0])
def test_velocity_of_a_perfect_network_is_exact(rms: float) -> None:
    """Invert the preconditioning: the raw output that yields eps - x0 is bounded at every time."""
    x0, noise = rms * torch.randn(2, 1000).double()
    for time in (0.0, 0.3, 1.0):
        t = torch.tensor([time]).double()
        x_t = interpolate(x0[None], noise[None] / rms, t)
        unit = velocity(torch.ones_like(x_t), x_t, t, rms)
        free = velocity(torch.zeros_like(x_t), x_t, t, rms)
        raw = ((noise / rms - x0) - free) / (unit - free)
        assert raw.std() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(raw[0], x0 / rms)  # at t = 1 the network predicts the data


def test_normaliser_round_trip_and_floor() -> None:
    waypoints = torch.randn(500, 4, 14) * 0.3 + 1
    waypoints[..., 13] = 0.25  # a gripper that never moves
    stats = Normaliser(4, 14)
    stats.fit(waypoints, torch.tensor(STD_FLOOR * 2))
    normal = stats.normalise(waypoints)
    assert normal[..., :13].std() == pytest.approx(1, abs=0.01)
    assert torch.allclose(normal[..., 13], torch.zeros(()))
    assert stats.std[0, 13] == pytest.approx(0.1)
    torch.testing.assert_close(stats.denormalise(normal), waypoints)


def test_proprio_holds_poses_joints_and_tracking_error(tiny: Preset) -> None:
    obs = observation(tiny, 1)
    half = 2**-0.5
    obs["right_endpose"] = torch.tensor([[1.0, 2.0, 3.0, half, 0.0, 0.0, half]])  # a quarter turn about z
    vector = proprio(obs)
    torch.testing.assert_close(vector[0, 9:18], torch.tensor([1.0, 2, 3, 0, 1, 0, -1, 0, 0]))
    torch.testing.assert_close(vector[:, 18:32], obs["qpos"])
    torch.testing.assert_close(vector[:, 32:] + obs["qpos"], obs["qpos_measured"])


def test_map_peak_error_counts_pixels_where_there_is_a_blob(tiny: Preset) -> None:
    true = torch.zeros(1, tiny.frames, 3, *tiny.canvas)
    guess = true.clone()
    true[0, 0, 1, 5, 7] = 1  # right arm's event in the head tile
    guess[0, 0, 1, 8, 3] = 0.4
    head, left, right = map_peak_error(guess, true, tiny)
    assert head == 5
    assert left.isnan() and right.isnan()

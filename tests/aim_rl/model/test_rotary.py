"""Rotary positions: whose they are, and that only differences count."""

import torch

from aim_rl.model import PRESETS, Preset, proprio
from aim_rl.model.rotary import OFF_CANVAS, chunk_positions, rotate, rotation
from aim_rl.model.streams import mixture

from .conftest import observation, randomised, training_batch


def test_a_map_token_stands_where_its_frame_does(tiny: Preset) -> None:
    for preset in (tiny, PRESETS["wan2.2-5b"]):
        places = chunk_positions(preset)
        assert torch.equal(places["x"], places["m"])
        assert {kind: len(place) for kind, place in places.items()} == {
            "obs": preset.n_obs,
            "x": preset.n_future,
            "m": preset.n_future,
            "a": preset.n_waypoints,
            "past_act": preset.n_past,
        }
        grid = preset.grid[0] * preset.grid[1]
        assert (places["obs"][:, 0] == 0).all() and (places["obs"][grid:, 1:] == OFF_CANVAS).all()
        assert torch.equal(places["obs"][:grid, 1:], places["x"][:grid, 1:])
        assert places["x"][0].tolist() == [1, 0, 0] and places["x"][1].tolist() == [1, 0, 1]
        assert places["a"][-1].tolist() == [places["x"][-1, 0], OFF_CANVAS, OFF_CANVAS]


def test_turns_by_hand() -> None:
    """Head of 12: pairs 2, 2, 2 for frame, row and column, the second of each a hundred times slower."""
    turn = rotation(torch.tensor([[1.0, 2.0, 3.0]]), 2, 12)
    assert turn.shape == (1, 2, 6)
    torch.testing.assert_close(turn[0, 1].angle(), torch.tensor([1.0, 0.01, 2.0, 0.02, 3.0, 0.03]))
    ones = torch.tensor([1.0, 0.0]).repeat(6).expand(1, 1, 2, 12)
    turned = rotate(ones, turn)[0, 0, 0]
    torch.testing.assert_close(turned[:2], torch.tensor([0.5403023, 0.8414710]))
    torch.testing.assert_close(turned.norm(), ones[0, 0, 0].norm())


def test_a_chunk_looks_the_same_at_any_time(deep: Preset) -> None:
    """What lets cached keys stay: shift the whole chunk by 40 frames, and nothing that is computed changes."""
    model = randomised(deep).double()
    obs, text = observation(deep, 1), training_batch(deep, 1)["text"]
    x, m = torch.randn(2, 1, deep.n_future, deep.token_dim, dtype=torch.float64)
    a, t = torch.randn(1, 1, deep.n_waypoints, 14, dtype=torch.float64), torch.full((1,), 0.5, dtype=torch.float64)

    def outputs(shift: float) -> list[torch.Tensor]:
        observed = model.observe(obs, text)
        segments = model.world_segments(observed, x, m, t)
        context = model.encode_world(observed, x, m, t)[2]
        segments.append(model.action_segment(context, proprio(obs).double(), a, t[:, None]))
        for segment in segments:
            places = chunk_positions(deep)[segment.kind] + torch.tensor([shift, 0.0, 0.0])
            segment.rotation = rotation(places, deep.heads, deep.head_dim)
        mixture(segments, None)
        return [segment.read_out() for segment in segments[1:]]

    for here, later in zip(outputs(0), outputs(40), strict=True):
        torch.testing.assert_close(here, later, atol=1e-10, rtol=1e-10)

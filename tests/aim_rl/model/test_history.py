"""The cached rollout equals one masked pass over everything (docs/model.md, "Who reads whom"), eviction included."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aim_rl.model import AIM, Preset, attention_mask, proprio, tokenize
from aim_rl.model.history import empty_history
from aim_rl.model.rotary import chunk_positions, rotation
from aim_rl.model.streams import Segment, mixture
from aim_rl.model.visibility import TOKEN_KINDS

from .conftest import observation, randomised

CHUNKS, WINDOW = 5, 2


class Rollout:
    """Random observations, noised futures and commanded actions of `CHUNKS` decisions, batch 2."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        generator = torch.Generator().manual_seed(3)

        def normal(*shape: int) -> Tensor:
            return torch.randn(CHUNKS, 2, *shape, generator=generator)

        shape = (preset.n_future, preset.token_dim)
        self.x, self.m = normal(*shape), normal(*shape)
        self.waypoints, self.commanded = normal(preset.n_waypoints, 14), normal(preset.n_past, 14)
        self.t = torch.rand(CHUNKS, 2, generator=generator)
        every = observation(preset, 2 * CHUNKS)
        self.obs = [{key: value[2 * c : 2 * c + 2] for key, value in every.items()} for c in range(CHUNKS)]
        self.text = tokenize("put the red block down", preset).expand(2, -1)

    def cached(self, model: AIM, restart: tuple[int, int] | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Velocities of x, m and a, decision by decision; `restart` = (row, chunk) at which an episode begins."""
        history, found = empty_history(self.preset, 2, self.x), []
        for c in range(CHUNKS):
            if restart is not None and c == restart[1]:
                history = history.forget(torch.arange(2) == restart[0])
            observed = model.observe(self.obs[c], self.text)
            v_x, v_m, context = model.encode_world(observed, self.x[c], self.m[c], self.t[c], history)
            v_a = model.action_velocity(context, proprio(self.obs[c]), self.waypoints[c], self.t[c])
            found.append((v_x, v_m, v_a))
            recalled = model.recall(observed, history)
            torch.testing.assert_close(model.observation_kv(context), recalled, atol=1e-5, rtol=0)
            history = model.remember(history, recalled, self.commanded[c])
        return found

    def full(self, model: AIM, first: int = 0) -> list[list[Tensor]]:
        """The same raw outputs by one masked pass over the tokens of all decisions from `first` on."""
        preset, positions, segments, chunks = self.preset, chunk_positions(self.preset), [], []
        for c in range(first, CHUNKS):
            observed = model.observe(self.obs[c], self.text)
            world = model.world_segments(observed, self.x[c], self.m[c], self.t[c])
            state = model.proprio_stats.normalise(proprio(self.obs[c]))
            assert model.past_action is not None
            past = model.past_action(self.commanded[c])[:, None]
            still = model.x.condition(past.new_zeros(1, 1, 1))
            keep = torch.zeros(0)
            action = model.action(observed.keypoints, state, self.waypoints[c][:, None], self.t[c][:, None], keep)
            for segment in (*world, Segment("past_act", model.x, past, still, keep), action):
                frames = c * preset.execute * preset.times / preset.horizon
                place = positions[segment.kind] + torch.tensor([frames, 0.0, 0.0])
                segment.rotation = rotation(place, preset.heads, preset.head_dim).to(torch.complex64)
                segments.append(segment)
                chunks.append(c)
        ids = torch.cat([torch.full((segment.count,), TOKEN_KINDS.index(segment.kind)) for segment in segments])
        chunk = torch.cat([torch.full((segment.count,), c) for segment, c in zip(segments, chunks, strict=True)])
        recent = chunk[:, None] - chunk[None, :] <= WINDOW
        mixture(segments, attention_mask(ids, chunk) & recent)
        return [[segment.tokens for segment in segments[5 * c : 5 * c + 5]] for c in range(CHUNKS - first)]


@pytest.fixture
def remembering(deep: Preset) -> Preset:
    return replace(deep, history=WINDOW)


def outputs(model: AIM, rollout: Rollout, tokens: list[Tensor], c: int) -> tuple[Tensor, Tensor, Tensor]:
    """The velocities that belong to the last tokens of x, m and a of decision c."""
    from aim_rl.model import flow
    from aim_rl.model.aim import RMS_WAYPOINTS

    t, rms = rollout.t[c], rollout.preset.data_rms or (None, None)
    found = []
    for stream, h, z, scale in zip(
        (model.x, model.m, model.action.stream),
        (tokens[1], tokens[2], tokens[4]),
        (rollout.x[c], rollout.m[c], rollout.waypoints[c]),
        (*rms, RMS_WAYPOINTS),
        strict=True,
    ):
        condition = stream.condition(t[:, None, None])
        if stream is model.action.stream:
            state = model.action.proprio(model.proprio_stats.normalise(proprio(rollout.obs[c])))
            if model.action.keypoints is not None:
                state = state + model.action.keypoints(model.observe(rollout.obs[c], rollout.text).keypoints)
            condition = condition + state[:, None, None]
        found.append(flow.velocity(stream.read_out(h, condition)[:, 0], z, t, scale))
    return found[0], found[1], found[2]


@torch.no_grad()
def test_cached_rollout_equals_the_full_masked_forward(remembering: Preset) -> None:
    model = randomised(remembering).eval()
    rollout = Rollout(remembering)
    cached, full = rollout.cached(model), rollout.full(model)
    for c in range(CHUNKS):
        for name, ours, theirs in zip("xma", cached[c], outputs(model, rollout, full[c], c), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5, msg=lambda m, n=name, c=c: f"{n} {c}: {m}")
    # The past does matter, and a row whose episode begins later remembers nothing of what went before.
    restarted, fresh = rollout.cached(model, restart=(1, 2)), rollout.full(model, first=2)
    for c in range(2, CHUNKS):
        theirs = outputs(model, rollout, fresh[c - 2], c)
        for ours, whole, later in zip(restarted[c], cached[c], theirs, strict=True):
            torch.testing.assert_close(ours[1], later[1], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(ours[0], whole[0])
            assert (ours[1] - whole[1]).abs().max() > 1e-4


def test_training_sees_what_a_rollout_saw(remembering: Preset) -> None:
    """The history of a training batch equals the rollout's, the window's first decision being the episode's first."""
    model = randomised(remembering).eval()
    rollout = Rollout(remembering)
    history = empty_history(remembering, 2, rollout.x)
    for c in range(WINDOW):
        recalled = model.recall(model.observe(rollout.obs[c], rollout.text), history)
        history = model.remember(history, recalled, rollout.commanded[c])
    batch = {
        f"past_{name}": torch.stack([obs[name] for obs in rollout.obs[:WINDOW]], 1)
        for name in ("head_camera", "left_camera", "right_camera")
    }
    batch["past_waypoints"] = rollout.commanded[:WINDOW].transpose(0, 1) * model.waypoints.std[: remembering.n_past]
    batch["past_happened"] = torch.ones(2, WINDOW, dtype=torch.bool)
    trained = model.history_of(batch)
    assert trained is not None and torch.equal(trained.filled, history.filled)
    torch.testing.assert_close(trained.kv, history.kv, atol=1e-5, rtol=0)
    batch["past_happened"][1, 0] = False
    trained = model.history_of(batch)
    assert trained is not None and trained.filled.tolist() == [[True, True], [False, True]]
    (gradient,) = torch.autograd.grad(trained.kv[0].square().sum(), model.past_action.parameters().__next__())  # pyright: ignore
    assert gradient.abs().max() > 0

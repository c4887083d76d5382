"""What Wan-sized presets train with: a time per frame, no pure noise, a noised past."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from aim_rl.model import Preset
from envs.constants import CAMERAS

from .conftest import WANS, randomised, training_batch


@pytest.fixture
def wans(tiny: Preset) -> Preset:
    return replace(tiny, **WANS, times_per_frame=True, pure_noise=0.0)


def times_in_training(preset: Preset, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """[B, N], the times that the world streams saw."""
    model, seen = randomised(preset), []
    encode_world = model.encode_world

    def noted(observed: Any, x_t: Tensor, m_t: Tensor, t: Tensor, history: Any = None) -> Any:
        seen.append(t)
        return encode_world(observed, x_t, m_t, t, history)

    monkeypatch.setattr(model, "encode_world", noted)
    losses = model.loss(training_batch(preset, 8))
    assert torch.isfinite(losses["loss"])
    return seen[0]


def test_each_frame_of_the_future_has_its_time_and_none_is_pure_noise(
    wans: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = times_in_training(wans, monkeypatch).unflatten(1, (wans.times, -1))
    assert wans.times == 2 and (t == t[:, :, :1]).all()
    assert (t[:, 0, 0] != t[:, 1, 0]).all() and (t < 1).all()
    one = times_in_training(replace(wans, times_per_frame=False, pure_noise=1.0), monkeypatch)
    assert (one == 1).all()


@torch.no_grad()
def test_a_token_of_clean_time_is_denoised_as_one_of_its_own_time(wans: Preset) -> None:
    """Equal times per token are one time."""
    model, batch = randomised(wans).eval(), training_batch(wans, 2)
    observed = model.observe(batch, batch["text"])
    x, m = torch.randn(2, 2, wans.n_future, wans.token_dim, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.3, 0.8])
    one = model.encode_world(observed, x, m, t)
    each = model.encode_world(observed, x, m, t[:, None].expand(-1, wans.n_future))
    for ours, theirs in zip(one[:2], each[:2], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_past_of_half_of_the_samples_is_noised_in_training_and_its_time_is_told(
    wans: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset, n, told = replace(wans, history=2, history_noise=0.5), 64, []
    batch = training_batch(preset, n)
    batch |= {f"past_{name}": batch[name][:, None].expand(-1, 2, -1, -1, -1) for name in CAMERAS}
    batch["past_waypoints"] = torch.zeros(n, 2, preset.n_past, 14)
    batch["past_happened"] = torch.ones(n, 2, dtype=torch.bool)
    model = randomised(preset)
    observe = model.observe

    def noted(*arguments: Any) -> Any:
        observed = observe(*arguments)
        told.append(observed.t[:, 0, 0].expand(n))
        return observed

    monkeypatch.setattr(model, "observe", noted)

    def past() -> Tensor:
        """[B, k, numbers of a decision]."""
        history = model.history_of(batch, torch.Generator().manual_seed(4))
        assert history is not None
        return history.kv.unflatten(-2, (2, -1)).movedim(-3, 1).flatten(2)

    noised, times = past(), torch.stack(told, 1)
    model.eval()
    changed = (noised - past()).abs().amax(-1) > 1e-4
    assert torch.equal(changed, times > 0)
    assert torch.equal(changed[:, 0], changed[:, 1]) and n / 4 < changed[:, 0].sum() < 5 * n / 8
    assert (times[:, 0] != times[:, 1])[changed[:, 0]].all()
    assert times.max() <= 5 / 6  # the cleaner half of a schedule shifted by 5


def test_pictures_that_a_stem_reads_cannot_be_noised(tiny: Preset) -> None:
    with pytest.raises(ValueError, match="history_noise"):
        replace(tiny, history=1, history_noise=0.5)

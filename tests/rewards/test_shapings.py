"""Every shaping against numbers worked out by hand, and what each promises about an episode's sum."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from rewards import (
    MAPS,
    SHAPINGS,
    Episode,
    MapResponses,
    MapSource,
    RewardConfig,
    Shaping,
    chunk_reward,
    dense_reward,
    events,
    map_responses,
)

# Four decisions of two control steps; the seventh control step is the last. The map moves on after two decisions.
# 0.45, 0.5 and 0.55 pin a threshold at one half: its height, and `>` against `>=`.
RESPONSE = [[0.45, 0.5], [0.55, 0.7], [0.1, 0.5], [0.3, 0.8]]
EXECUTED = [[1, 1], [1, 1], [1, 1], [1, 0]]
SETTLED = [[0.0, 0.0], [0.0, 0.6], [0.0, 0.0], [0.0, 0.0]]
ARRIVED = [0.4, 0.1, 0.5, 0.0]
PROGRESS = [[0.1, 0.1, 0.2], [0.2, 0.5, 0.4], [0.4, 0.4, 0.9], [0.9, 1.0, 1.0]]
GAMMA = 0.5


def episode(solved: bool) -> Episode:
    responses = MapResponses(
        torch.tensor(RESPONSE), torch.tensor(SETTLED), torch.tensor(ARRIVED), torch.tensor([0, 0, 1, 1])
    )
    success = torch.zeros(4, 2, dtype=torch.bool)
    success[3, 0] = solved
    return Episode(responses, success, torch.tensor(EXECUTED).bool(), GAMMA, torch.tensor(PROGRESS))


MEANS = np.cumsum([0.45, 0.5, 0.55, 0.7, 0.1, 0.5, 0.3]) / np.arange(1, 8)
BY_HAND: dict[Shaping, list[float]] = {  # of control steps 1 .. 7
    "sparse": [0.0] * 7,
    "additive": [0.45, 0.5, 0.55, 0.7, 0.1, 0.5, 0.3],
    "length_normalised": list(np.diff(MEANS, prepend=0.0)),
    "best_so_far": [0.45, 0.05, 0.05, 0.15, 0.1, 0.4, 0.0],  # a new event begins with the fifth step
    # γΦ' - Φ with Φ = 0, 0.4, 0.1, 0.5 and 0 at the end, on the last control step of each decision
    "potential": [0.0, 0.2, 0.0, 0.05 - 0.4, 0.0, 0.25 - 0.1, 0.0 - 0.5],
    "gated": [0.0] * 6 + [3.1 / 7],
    "settled": [0.0, 0.0, 0.0, 0.6, 0.0, 0.0, 0.0],
    "privileged": [0.0, 0.1, 0.3, -0.1, 0.0, 0.5, 0.1],
}


def test_every_shaping_has_a_number_here() -> None:
    assert set(BY_HAND) == set(SHAPINGS) == set(get_args(Shaping))
    assert set(MAPS) == set(get_args(MapSource))


@pytest.mark.parametrize("shaping", SHAPINGS)
@pytest.mark.parametrize("solved", [True, False])
def test_shaping_by_hand(shaping: Shaping, solved: bool) -> None:
    dense = dense_reward(episode(solved), shaping)
    expected = BY_HAND[shaping] if solved or shaping != "gated" else [0.0] * 7
    assert dense.dtype == torch.float32
    np.testing.assert_allclose(dense.flatten()[:7], expected, atol=1e-6)
    assert dense[3, 1] == 0  # after the end


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_a_decision_is_paid_alike_while_the_episode_runs(shaping: Shaping) -> None:
    """What comes later may not change what was paid: the Gymnasium wrapper cannot take it back."""
    whole = dense_reward(episode(True), shaping)
    for t in range(1, 5):
        full = episode(True)
        responses = MapResponses(*(part[:t] for part in full.responses))
        assert full.progress is not None
        cut = replace(
            full, responses=responses, success=full.success[:t], executed=full.executed[:t], progress=full.progress[:t]
        )
        torch.testing.assert_close(dense_reward(cut, shaping)[-1], whole[t - 1])


@pytest.mark.parametrize("taken", [1, 3, 4])
def test_the_potential_telescopes_from_every_decision_on(taken: int) -> None:
    """Discounted, it is 0 over an episode and -Φ_t from decision t on, however and whenever the episode ends."""
    full = episode(False)
    arrived = full.responses.arrived.clone()
    arrived[taken - 1] = 0  # no map follows the last decision
    responses = full.responses._replace(arrived=arrived)
    executed = full.executed.clone()
    executed[taken:] = False  # padding
    executed[taken - 1, 1] = False  # and a last chunk that is cut short
    paid = dense_reward(replace(full, responses=responses, executed=executed), "potential").sum(-1)
    phi = [0.0, *ARRIVED][:taken]
    for t in range(taken):
        discounted = sum(GAMMA**n * paid[t + n].item() for n in range(taken - t))
        assert discounted == pytest.approx(-phi[t], abs=1e-6)
    assert not paid[taken:].any()


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_what_an_episode_can_earn_by_hovering(shaping: Shaping) -> None:
    """Five decisions on the way, ten or 110 of hovering at a peak of 0.9, then success on the last control step."""

    def total(waiting: int) -> float:
        decisions, h, side = 5 + waiting + 1, 2, 4
        seen = torch.full((decisions, 2, 3, side, side), 0.9)
        seen[-1] = 0  # the last map has seen the interaction done
        before, after = torch.cat([seen[:1], seen[:-1]]), torch.cat([seen[1:], seen[-1:]])
        commanded_tcp = torch.zeros(decisions, h, 2, 3)
        commanded_tcp[:5, ..., 0] = 9.0  # m; out of the frame
        followed = torch.arange(decisions) < decisions - 1
        camera = torch.tensor([[4.0, 0, 2], [0, 4, 2], [0, 0, 1]]), torch.eye(3, 4)
        camera[1][2, 3] = 1.0
        flags = torch.ones(decisions, h).bool(), followed, (*(part.expand(decisions, 3, -1) for part in camera), (4, 4))
        responses = map_responses(seen, before[:, 0], after[:, 0], torch.zeros(decisions), commanded_tcp, *flags)
        success = torch.zeros(decisions, h).bool()
        success[-1, -1] = True
        progress = torch.full((decisions, h + 1), 0.5)
        progress[-1, -1] = 1.0
        return dense_reward(Episode(responses, success, flags[0], 1.0, progress), shaping).sum().item()

    short, long = total(10), total(110)
    if shaping == "additive":
        assert long - short == pytest.approx(100 * 2 * 0.9, abs=1e-3)
    elif shaping in ("length_normalised", "gated"):  # the mean response: up to the peak's, and no further
        assert short == pytest.approx(0.9 * 20 / 32, abs=1e-3) and long == pytest.approx(0.9 * 220 / 232, abs=1e-3)
    else:
        paid = {"sparse": 0, "best_so_far": 0.9, "potential": 0, "settled": 0.9, "privileged": 0.5}
        assert short == pytest.approx(long, abs=1e-4) == pytest.approx(paid[shaping], abs=1e-4)


def test_lambda_dense_is_annealed_to_nothing() -> None:
    dense, success, executed = torch.ones(3), torch.tensor([False, False, True]), torch.ones(3).bool()
    config = RewardConfig(0.4, 2.0, anneal=True)
    paid = [chunk_reward(dense, success, executed, config, trained).tolist() for trained in (0.0, 0.75, 1.0)]
    np.testing.assert_allclose(paid, [[0.4, 0.4, 2.4], [0.1, 0.1, 2.1], [0.0, 0.0, 2.0]], atol=1e-6)
    constant = replace(config, anneal=False)
    assert chunk_reward(dense, success, executed, constant, 0.75)[0].item() == pytest.approx(0.4)


def test_the_privileged_reward_says_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="progress"):
        dense_reward(replace(episode(True), progress=None), "privileged")


# -- which maps are read ------------------------------------------------------------------------------


def peak(v: int, u: int, height: float, arm: int = 0) -> torch.Tensor:
    value_map = torch.zeros(3, 4, 4)
    value_map[arm, v, u] = height
    return value_map


def test_an_event_ends_where_the_map_leaves_its_peak() -> None:
    """A peak that fades to half, or grows elsewhere too, is still the event; channel 2 says nothing."""
    both = torch.maximum(peak(1, 1, 0.6), peak(3, 3, 1.0, arm=1))
    decoy = peak(1, 1, 0.3, arm=2)
    first = torch.stack([peak(1, 1, 0.8), peak(1, 1, 0.4), both, decoy, peak(2, 2, 1.0)])
    event, held = events(first)
    assert event.tolist() == [0, 0, 0, 1, 1]  # the empty map (to the arms) begins an event that nothing ends
    assert [torch.equal(h, first[i]) for h, i in zip(held, [0, 0, 0, 3, 3], strict=True)] == [True] * 5
    batched, _ = events(torch.stack([first, first.flip(0)]))
    assert batched[0].tolist() == event.tolist()


def numbered() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps whose value names rollout and decision: 10 i + t; rollouts of 4, 2 and 3 decisions, seeds 5, 5, 8."""
    maps = (10.0 * torch.arange(3)[:, None] + torch.arange(4))[..., None, None, None, None]
    mask = torch.arange(4) < torch.tensor([4, 2, 3])[:, None]
    return maps.expand(3, 4, 2, 3, 4, 4), mask, torch.tensor([5, 5, 8])


def test_controls_read_the_wrong_maps() -> None:
    maps, mask, seed = numbered()
    shuffled = MAPS["other_decision"](maps, mask, seed)[..., 0, 0, 0, 0]
    assert shuffled[0].tolist() == [2, 3, 0, 1]
    assert shuffled[1, :2].tolist() == [11, 10] and shuffled[2, :3].tolist() == [21, 22, 20]
    other = MAPS["other_scene"](maps, mask, seed)[..., 0, 0, 0, 0]
    assert other[0].tolist() == other[1].tolist() == [20, 21, 22, 22]  # the shorter partner's last maps stay
    assert other[2].tolist() == [0, 1, 2, 3]
    assert (MAPS["uniform"](maps, mask, seed) == 0.5).all()
    assert torch.equal(MAPS["refreshed"](maps, mask, seed), maps)
    with pytest.raises(ValueError, match="two seeds"):
        MAPS["other_scene"](maps[:2], mask[:2], seed[:2])


def test_held_maps_stay_until_the_event_is_over() -> None:
    frames = torch.stack([peak(1, 1, 0.8), peak(1, 1, 0.6), peak(2, 2, 1.0)])
    maps = torch.stack([frames, 0.1 * frames], 1)[None]  # a second frame that is not read
    held = MAPS["held"](maps, torch.ones(1, 3).bool(), torch.zeros(1))
    for t, source in enumerate((0, 0, 2)):
        assert torch.equal(held[0, t], frames[source].expand(2, 3, 4, 4))

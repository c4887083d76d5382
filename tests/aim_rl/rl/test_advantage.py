"""Returns and group-relative advantages against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from aim_rl.rl.advantage import gae_advantage, group_advantage, mixed_groups, returns_to_go, trajectory_advantage

# Two groups of two rollouts; seeds 7 and 9 take turns, as in a batch from several workers.
GROUP = torch.tensor([7, 9, 7, 9])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]]).bool()


def test_returns_to_go_discount_and_ignore_the_padding() -> None:
    reward = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 99.0], [3.0, 99.0, 99.0], [0.0, 0.0, 99.0]])
    expected = torch.tensor([[3.0, 4.0, 4.0], [2.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(returns_to_go(reward, MASK, gamma=0.5), expected)


def test_each_decision_is_compared_with_the_same_decision_of_its_group() -> None:
    returns = torch.tensor([[3.0, 5.0, 2.0], [1.0, 2.0, 50.0], [1.0, 50.0, 50.0], [3.0, 6.0, 50.0]])
    # Seed 7: first decision 3 and 1, later ones have a single survivor: deviations +1, 0, 0 and -1,
    # spread sqrt(2/4). Seed 9: deviations -1, -2 and +1, +2, spread sqrt(10/4).
    a, b = 2**0.5, 2.5**-0.5
    expected = torch.tensor([[a, 0, 0], [-b, -2 * b, 0], [-a, 0, 0], [b, 2 * b, 0]])
    torch.testing.assert_close(group_advantage(returns, MASK, GROUP, std_floor=0.1), expected)


def test_the_floor_keeps_noise_small() -> None:
    returns = torch.tensor([[0.01], [0.03]])
    alike = group_advantage(returns, torch.ones(2, 1).bool(), torch.zeros(2), std_floor=0.1)
    torch.testing.assert_close(alike, torch.tensor([[-0.1], [0.1]]))
    whole = trajectory_advantage(returns, torch.ones(2, 1).bool(), torch.zeros(2), std_floor=0.1)
    torch.testing.assert_close(whole, torch.tensor([[-0.1], [0.1]]))


def test_a_group_without_difference_has_no_advantage() -> None:
    returns = torch.full((3, 2), 4.2)
    mask = torch.tensor([[1, 1], [1, 0], [1, 1]]).bool()
    for advantage in (group_advantage, trajectory_advantage):
        assert advantage(returns, mask, torch.zeros(3), 0.1).abs().max() < 1e-5


def test_whole_trajectories_share_the_standardised_return_of_their_start() -> None:
    returns = torch.tensor([[3.0, 5.0, 2.0], [1.0, 2.0, 50.0], [1.0, 50.0, 50.0], [6.0, 6.0, 50.0]])
    expected = torch.tensor([[1.0, 1, 1], [-1, -1, 0], [-1, 0, 0], [1, 1, 0]])
    torch.testing.assert_close(trajectory_advantage(returns, MASK, GROUP, std_floor=0.1), expected)


@pytest.mark.parametrize(
    ("success", "kept"),
    [([1, 0, 0, 0], [1, 0, 1, 0]), ([1, 1, 1, 1], [0, 0, 0, 0]), ([1, 0, 0, 1], [1, 1, 1, 1])],
)
def test_only_groups_with_both_outcomes_are_kept(success: list[int], kept: list[int]) -> None:
    assert mixed_groups(torch.tensor(success).bool(), GROUP).tolist() == [bool(k) for k in kept]


def test_gae_by_hand() -> None:
    reward = torch.tensor([[0.0, 0.0, 1.0], [0.5, 9.0, 9.0]])
    value = torch.tensor([[0.2, 0.5, 0.6], [0.1, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    # delta = 0.5*0.5-0.2, 0.5*0.6-0.5, 1-0.6; A = delta + 0.25*A of the next; nothing after the last decision
    raw = torch.tensor([0.025, -0.1, 0.4, 0.4])
    expected = (raw - raw.mean()) / raw.std(correction=0)
    advantage = gae_advantage(reward, value, mask, gamma=0.5, lmbda=0.5)
    torch.testing.assert_close(advantage[mask], expected)
    assert not advantage[~mask].any()


def test_where_nothing_succeeds_the_critics_error_stays_small() -> None:
    value = torch.tensor([[0.004, 0.002], [-0.004, 0.002]])
    # delta = 0.5*0.002 -+ 0.004 and -0.002; A of the first decisions has half of the second's added
    raw = torch.tensor([[-0.004, -0.002], [0.004, -0.002]])
    expected = (raw + 0.001) / 0.03
    advantage = gae_advantage(torch.zeros(2, 2), value, torch.ones(2, 2).bool(), gamma=0.5, lmbda=1.0)
    torch.testing.assert_close(advantage, expected)

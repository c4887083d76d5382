"""What dense rewards say of success and failure."""

from __future__ import annotations

import pytest
import torch

from experiments.reward_audit import earns_more


def test_pairs_of_success_and_failure_by_hand() -> None:
    one = earns_more(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0, 3.0]))
    assert one == pytest.approx((1 + 1 + 0 + 0.5 + 1 + 0) / 6)

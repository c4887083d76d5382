"""The scene of the README's animation is chosen by a rule."""

from __future__ import annotations

import pytest

from envs.errors import UserError
from experiments.readme_picture import choose_seed


def test_the_first_scene_that_only_stage_two_solves_is_shown() -> None:
    stage1 = {4: False, 3: False, 2: False, 1: True, 0: False}
    stage2 = {4: True, 3: True, 2: False, 1: True, 5: True}

    assert choose_seed(stage1, stage2) == 3
    with pytest.raises(UserError, match="more --episodes"):
        choose_seed(stage1, stage1)

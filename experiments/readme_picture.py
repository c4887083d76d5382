"""Draws the README's picture from the shipped checkpoint: `python -m experiments.readme_picture`.

Three decisions of one held-out episode side by side: frame, predicted value map, commanded TCP positions.
"""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np

from aim_rl.evaluate import choose_checkpoint
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from aim_rl.rollout.videos import draw_episode
from envs.errors import exit_cleanly

TASK, SEED, DECISIONS = "stack_blocks_two", seeds.TEST + 1, (0, 2, 4)


def main() -> None:
    model, _ = load_checkpoint(choose_checkpoint(TASK, None), TASK)
    policy = AimPolicy(model, model.preset.execute)
    pictures, _ = draw_episode(policy, task=TASK, setting="clean", seed=SEED)
    iio.imwrite(Path("docs/value_map.png"), np.concatenate([pictures[decision] for decision in DECISIONS], 1))


if __name__ == "__main__":
    exit_cleanly(main)

"""Disjoint seed ranges: what is evaluated was never trained on."""

DEMONSTRATIONS = 0  # demonstrations: 0 .. 199_999
REINFORCEMENT = 200_000  # Stage II rollouts: 200_000 .. 899_999
VALIDATION = 900_000  # watching a run: 900_000 .. 999_999
TEST = 1_000_000  # evaluation: `--seed S` starts at 1_000_000 + S
TRAININGS = 2**23  # a training's `--seed` lies below: with a step's number behind it, it must fit into 64 bits

"""Disjoint seed ranges: what is evaluated was never trained on."""

DEMONSTRATIONS = 0  # demonstrations: 0 .. 199_999
REINFORCEMENT = 200_000  # Stage II rollouts: 200_000 .. 899_999
VALIDATION = 900_000  # watching a run: 900_000 .. 999_999
TEST = 1_000_000  # evaluation: `--seed S` starts at 1_000_000 + S
TRAININGS = 2**23  # a training's `--seed` lies below


def reinforcement(seed: int) -> int:
    """First seed of the Stage II training with that `--seed`: 30 trainings start 20 000 seeds apart."""
    return REINFORCEMENT + 20_000 * (seed % 30)


def torch_seed(number: int, apart: int) -> int:
    """A seed for torch's generator: `number` for `apart` 0; for other values below 2^32 it is far from `number`.

    Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4) in 32 bits, because torch's CPU generator ignores
    the bits above, into which a shift would move the difference.
    """
    return (number + 0x9E3779B9 * apart) % 2**32

"""Disjoint seed ranges: what is evaluated was never trained on."""

DEMONSTRATIONS = 0  # demonstrations: 0 .. 199_999
REINFORCEMENT = 200_000  # Stage II rollouts: 200_000 .. 899_999
VALIDATION = 900_000  # watching a run: 900_000 .. 999_999
TEST = 1_000_000  # evaluation: `--seed S` starts at 1_000_000 + S
TRAININGS = 2**23  # a training's `--seed` lies below


def reinforcement(seed: int) -> int:
    """First scene of the Stage II training of that `--seed`: 30 trainings begin 20 000 scenes apart."""
    return REINFORCEMENT + 20_000 * (seed % 30)


def torch_seed(number: int, apart: int) -> int:
    """`number` where `apart` is 0; for other values of `apart` below 2^32, numbers far from there and from each other.

    Of 32 bits: torch's CPU generator ignores those above, where a shift would put the difference. The factor is
    Fibonacci hashing's, 2^32 over the golden ratio (Knuth, The Art of Computer Programming, 6.4).
    """
    return (number + 0x9E3779B9 * apart) % 2**32

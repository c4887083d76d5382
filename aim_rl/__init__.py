"""AIM-RL: a world-action model whose value maps reward its own action head (Stage I, Stage II, evaluation)."""

__version__ = "0.2.0"

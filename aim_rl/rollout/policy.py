"""What rollouts need of a policy; `aim_rl.rl.policy.AimPolicy` is one."""

from __future__ import annotations

from typing import Any, Protocol

from tensordict import TensorDictBase

from aim_rl.model import AIM
from aim_rl.model.history import History


class Policy(Protocol):
    """Decides for a batch of environments.

    Attributes:
        model: the policy's model; says what is observed (`preset`), and turns instructions into tokens.
        history: what the policy remembers of each row, where its preset has a history.
    """

    model: AIM
    history: History | None

    def __call__(self, tensordict: TensorDictBase, /) -> Any:
        """Adds `action` f32 [*, execute, 16], `commanded_tcp` f32 [*, horizon, 2, 3] (m, world), `value_map`
        f32 [*, F, 3, h, w] and what training reads, to observations [*] with `text`, `seed` and `decision`.
        """
        ...

    def share_memory(self) -> Any:
        """Moves the weights to shared memory, where worker processes see the optimizer's steps."""
        ...

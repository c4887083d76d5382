"""The critic of Stage II's GAE advantages: a small value function on what the frozen streams already computed."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from aim_rl.model import AIM, PROPRIO_DIM
from aim_rl.runs.state import FiniteUpdates

BATCH = 512  # decisions per optimizer step
MEMORY = 16  # latest batches of rollouts that it is fitted to
WIDTH = 128
LEARNING_RATE = 1e-3
DECISIONS = 30  # scale of the decision index


class Critic(nn.Module):
    """V(s), the discounted return to go, from keypoints, proprioception and the decision index.

    The world model does not run for it: keypoints come with the stored world context. Without keypoints it would be
    blind, so `aim_rl.finetune` refuses such presets. It stays on the CPU, where the rollouts are.

    Args:
        model: gives the sizes and the normaliser of proprioception.
        updates: counts the steps that are skipped.
        steps: optimizer steps of every fit.
    """

    def __init__(self, model: AIM, updates: FiniteUpdates, steps: int) -> None:
        super().__init__()
        self._stats, self._updates, self._steps = copy.deepcopy(model.proprio_stats).cpu(), updates, steps
        self.network = nn.Sequential(
            nn.Linear(9 * model.preset.keypoints + PROPRIO_DIM + 1, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, 1),
        )
        self._optimizer = torch.optim.AdamW(self.network.parameters(), LEARNING_RATE, weight_decay=0.01)
        self._memory: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)

    @property
    def fitted(self) -> bool:
        """Whether it has seen any rollouts."""
        return bool(self._memory)

    def forward(self, rollouts: TensorDictBase) -> Tensor:
        """Rollouts [N, T] -> values [N, T]."""
        return self.network(self._features(rollouts))[..., 0]

    def fit(self, rollouts: TensorDictBase, returns: Tensor) -> float:
        """Regresses on the returns to go [N, T] of these and the latest rollouts; returns the mean squared error."""
        mask = rollouts["collector", "mask"]
        self._memory.append((self._features(rollouts)[mask], returns[mask]))
        features, targets = (torch.cat(parts) for parts in zip(*self._memory, strict=True))
        total = 0.0
        for _ in range(self._steps):
            chosen = torch.randint(len(features), (BATCH,))
            loss = (self.network(features[chosen])[:, 0] - targets[chosen]).square().mean()
            self._optimizer.zero_grad()
            loss.backward()
            gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
            if self._updates.allow(loss, torch.nn.utils.get_total_norm(gradients)):
                self._optimizer.step()
            total += loss.item()
        return total / self._steps

    def get_extra_state(self) -> dict[str, Any]:
        """What `state_dict` holds beside the network: the optimizer and the latest rollouts."""
        return {"optimizer": self._optimizer.state_dict(), "memory": list(self._memory)}

    def set_extra_state(self, state: Any) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        self._memory = deque(state["memory"], MEMORY)

    def _features(self, rollouts: TensorDictBase) -> Tensor:
        state = self._stats.normalise(rollouts["proprio"])
        return torch.cat([rollouts["context_keypoints"], state, rollouts["decision"] / DECISIONS], -1)

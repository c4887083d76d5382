"""Advantage-weighted regression with replay: the action head learns by flow matching on executed chunks.

Data are used many times: every iteration adds its decisions to a replay buffer and makes `steps` optimizer steps on
chunks drawn from it, those with a high advantage more often (AWR, arXiv 1910.00177; the weighted form of flow matching
is that of IDQL's policy extraction, arXiv 2304.10573). No likelihood and no ratio is needed, so any exploration will
do. Every episode weighs the same however long it was, so that long failures do not outweigh short successes.

Nothing that Stage I solves should be forgotten: at the inputs of every minibatch the velocity is also pulled towards
Stage I's (`anchor`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl import logger as torchrl_logger
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from aim_rl.model import WorldContext, flow
from aim_rl.rl.advantage import returns_to_go
from aim_rl.rl.algorithm import Metrics
from aim_rl.rl.critic import Critic
from aim_rl.rl.policy import AimPolicy
from aim_rl.runs.state import Counters, FiniteUpdates
from envs.errors import UserError

torchrl_logger.setLevel("WARNING")  # it announces every storage
STORED = ("context_kv", "context_keypoints", "context_exists", "proprio", "chunk", "weight")
MAX_EXPONENT = 2.3  # of a weight: no decision is drawn more than ten times as often as one of advantage 0


@dataclass(frozen=True, kw_only=True)
class AwrConfig:
    """Settings of advantage-weighted regression."""

    learning_rate: float = 3e-4
    """Peak; it rises over the first tenth of the iterations and then falls to 0."""
    steps: int = 60
    """Optimizer steps of the action head per iteration."""
    minibatch: int = 256
    """Decisions per optimizer step."""
    capacity: int = 20_000
    """Decisions in the replay buffer; the oldest go first. Their world contexts are stored in half precision."""
    temperature: float = 0.5
    """Of the weights exp(advantage / temperature), in standard deviations of the advantages."""
    anchor: float = 0.3
    """Weight of the squared distance to Stage I's velocity."""
    unexecuted: float = 0.3
    """Weight of the loss of waypoints that were commanded and not executed."""
    gamma: float = 0.95
    """Discount per decision."""
    max_gradient: float = 1.0
    """Largest norm of a gradient; longer ones are cut."""
    critic_steps: int = 300
    """Optimizer steps of the critic per iteration."""

    def __post_init__(self) -> None:
        if min(self.steps, self.minibatch, self.capacity, self.critic_steps) < 1:
            raise UserError("--awr.steps, --awr.minibatch, --awr.capacity and --awr.critic-steps must be at least 1")
        if min(self.learning_rate, self.temperature, self.max_gradient) <= 0:
            raise UserError("--awr.learning-rate, --awr.temperature and --awr.max-gradient must be above 0")
        if not 0 <= self.gamma <= 1 or min(self.anchor, self.unexecuted) < 0:
            raise UserError("--awr.gamma must lie in 0 .. 1, --awr.anchor and --awr.unexecuted be at least 0")


class Awr:
    """Advantage-weighted regression (`aim_rl.rl.algorithm.Algorithm`).

    The replay buffer and the critic stay on the CPU; minibatches go to the model's device.

    Args:
        policy: its action head is trained; nothing else has a gradient.
        config: settings.
    """

    def __init__(self, policy: AimPolicy, config: AwrConfig) -> None:
        self.policy, self.config = policy, config
        self.rate = 1.0
        self.observed = ("chunk",)
        self.counters = Counters()
        self._updates, of_critic = FiniteUpdates(self.counters), FiniteUpdates(self.counters, "critic_")
        self._checked = self._updates, of_critic
        self.critic = Critic(policy.model, of_critic, config.critic_steps)
        self._parameters = list(policy.trained.parameters())
        self.optimizer = torch.optim.AdamW(self._parameters, config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.replay = TensorDictReplayBuffer(storage=LazyTensorStorage(config.capacity))
        self._stage1 = copy.deepcopy(policy.model.action).requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """Weights and their version, optimizer, critic, replay buffer, counters."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return parts | {"version": self.policy.version, "stored": self._stored()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError if the state is of another model."""
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        except RuntimeError as error:
            raise ValueError(str(error).split("\n")[0]) from error
        self.policy.version.copy_(state["version"])
        if len(state["stored"]):
            self.replay.extend(state["stored"])

    def _parts(self) -> dict[str, Any]:
        return {
            "trained": self.policy.trained,
            "critic": self.critic,
            "optimizer": self.optimizer,
            "counters": self.counters,
        }

    def _stored(self) -> Any:
        """The replay buffer's decisions, oldest first."""
        return self.replay[:] if len(self.replay) else {}

    def observe(self, rollouts: TensorDictBase) -> Metrics:
        """Adds the decisions of rollouts [N, T] to the replay buffer, with their weights."""
        mask = rollouts["collector", "mask"]
        returns = returns_to_go(rollouts["next", "reward"][..., 0], mask, self.config.gamma)
        metrics: Metrics = {}
        value = torch.zeros_like(returns)
        if self.critic.fitted:
            with torch.no_grad():
                value = self.critic(rollouts)
            residual = (returns - value)[mask].var() / returns[mask].var().clamp_min(1e-6)
            metrics["critic/explained_variance"] = 1 - residual.item()
        weight = decision_weights(returns - value, mask, self.config.temperature)
        metrics["critic/loss"] = self.critic.fit(rollouts, returns)
        rows = mask.nonzero()
        stored = cast(TensorDictBase, rollouts.select(*STORED[:-1])[rows[:, 0], rows[:, 1]])
        stored["context_kv"] = stored["context_kv"].half()
        stored["weight"] = weight[mask]
        self.replay.extend(stored)
        share = weight[mask].sum().square() / weight[mask].square().sum() / len(rows)
        return metrics | {"replay/decisions": float(len(self.replay)), "replay/effective_share": share.item()}

    def update(self, rollouts: TensorDictBase) -> Metrics:
        """Makes `steps` optimizer steps on weighted draws from the replay buffer; returns means of the losses."""
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * self.rate
        stored = self.replay[:]
        chosen = torch.multinomial(stored["weight"], self.config.steps * self.config.minibatch, replacement=True)
        sums: dict[str, float] = {}
        for part in chosen.split(self.config.minibatch):
            losses = self.loss(stored[part].to(self.policy.model.device))
            loss = losses["flow"] + self.config.anchor * losses["anchor"]
            self.optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_gradient)
            if self._updates.allow(loss, norm):
                self.optimizer.step()
            for name, number in {**losses, "gradient_norm": norm}.items():
                sums[name] = sums.get(name, 0.0) + number.item() / self.config.steps
        self.policy.version += 1
        return {f"update/{name}": value for name, value in sums.items()}

    def loss(self, decisions: TensorDictBase) -> dict[str, Tensor]:
        """Flow-matching loss on the executed chunks [B], and the mean squared distance to Stage I's velocity."""
        model = self.policy.model
        exists = decisions["context_exists"] if model.preset.history else None
        kv = decisions["context_kv"].to(decisions["chunk"].dtype)
        context = WorldContext(kv, decisions["context_keypoints"], exists)
        clean = decisions["chunk"]
        noise = torch.randn_like(clean)
        t = flow.shift_time(torch.rand(len(clean), device=clean.device), model.preset.shift_action)
        noised = flow.interpolate(clean, noise, t)
        velocity = model.action_velocity(context, decisions["proprio"], noised, t)
        with torch.no_grad():
            head, model.action = model.action, self._stage1
            before = model.action_velocity(context, decisions["proprio"], noised, t)
            model.action = head
        executed = torch.arange(clean.shape[1], device=clean.device) < self.policy.executed_waypoints
        importance = torch.where(executed, 1.0, self.config.unexecuted)[:, None]
        error = (importance * (velocity - (noise - clean)).square()).mean() / importance.mean()
        return {"flow": error, "anchor": (velocity - before).square().mean()}

    def check(self, run: Path) -> None:
        """Raises UserError if three steps in a row, the action head's or the critic's, were skipped."""
        for updates in self._checked:
            updates.check(run, "--awr.learning-rate")


def decision_weights(advantage: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """exp(A / temperature) of standardised advantages [N, T], at most `e^MAX_EXPONENT`, divided by its row's length.

    Zero where the mask bool [N, T] is false.
    """
    scaled = advantage / advantage[mask].std(correction=0).clamp_min(1e-3)
    weight = (scaled / temperature).clamp(max=MAX_EXPONENT).exp()
    return cast(Tensor, weight * mask / mask.sum(1, keepdim=True).clamp_min(1))

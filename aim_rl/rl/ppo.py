"""PPO on the action head against the stored world context; with group-relative advantages it is GRPO."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.objectives import ClipPPOLoss

from aim_rl.rl.advantage import gae_advantage, group_advantage, mixed_groups, returns_to_go, trajectory_advantage
from aim_rl.rl.algorithm import Metrics
from aim_rl.rl.critic import Critic
from aim_rl.rl.metrics import succeeded
from aim_rl.rl.policy import OBSERVATION, AimPolicy
from aim_rl.runs.state import Counters, FiniteUpdates
from envs.errors import UserError

REPLAYED = (
    "chain",
    "sample",
    "sample_log_prob",
    "context_kv",
    "context_keypoints",
    "context_exists",
    "proprio",
    "advantage",
    "version",
)
DUAL_CLIP = 3.0  # largest ratio by which a decision with a negative advantage counts
RATIO_TOLERANCE = 1e-4  # on |ratio - 1| of decisions that the current weights sampled
ANCHORED = 4  # every so many decisions of a minibatch measure the distance to Stage I: it varies little
CHECKED = 256  # decisions on which the ratio and the divergence from Stage I are measured


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """PPO's settings."""

    advantage: Literal["group", "trajectory", "gae"] = "gae"
    """gae: with a critic on frozen features. group, trajectory: returns compared within the group, per decision or per
    rollout (GRPO)."""
    learning_rate: float = 2.5e-5
    """Peak; it rises over the first tenth of the iterations and then falls to 0."""
    epochs: int = 3
    minibatch: int = 512
    """Decisions per optimizer step."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    gamma: float = 0.9
    """Discount per decision."""
    gae_lambda: float = 0.7
    std_floor: float = 0.1
    """Smallest standard deviation that a group's returns are divided by; GAE has its own (aim_rl/rl/advantage.py)."""
    dense_weight: float | None = None
    """Normalises the returns of success and of the dense reward separately and weighs the second by this, the first by
    1; without GAE only. By default their weighted sum is normalised."""
    anchor: float = 0.1
    """Weight of the KL divergence from Stage I per denoising step, at the decisions of every minibatch."""
    max_gradient: float = 1.0
    """Largest norm of a gradient; longer ones are cut."""
    critic_steps: int = 300
    """Optimizer steps of the critic per iteration."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.minibatch, self.critic_steps) < 1:
            raise UserError("--rl.epochs, --rl.minibatch and --rl.critic-steps must be at least 1")
        if min(self.learning_rate, self.std_floor, self.max_gradient) <= 0:
            raise UserError("--rl.learning-rate, --rl.std-floor and --rl.max-gradient must be above 0")
        if self.anchor < 0:
            raise UserError("--rl.anchor must be at least 0")
        if not 0 < self.clip_low < 1 or self.clip_high <= 0:
            raise UserError("--rl.clip-low must lie between 0 and 1, and --rl.clip-high above 0")
        if not (0 <= self.gamma <= 1 and 0 <= self.gae_lambda <= 1):
            raise UserError("--rl.gamma and --rl.gae-lambda must lie in 0 .. 1")
        if self.dense_weight is not None and self.advantage == "gae":
            raise UserError("--rl.dense-weight goes with --rl.advantage group or trajectory")


class Ppo:
    """Clipped policy gradient (`aim_rl.rl.algorithm.Algorithm`).

    Rollouts and the critic stay on the CPU; minibatches of decisions go to the model's device.

    Args:
        policy: its action head is trained; nothing else has a gradient.
        config: settings.

    Attributes:
        observed: empty while the world streams are frozen.
    """

    def __init__(self, policy: AimPolicy, config: PpoConfig) -> None:
        self.policy, self.config = policy, config
        self.loss = ClipPPOLoss(
            policy,  # pyright: ignore[reportArgumentType]  # whatever has get_dist
            critic_network=None,
            critic_coeff=None,
            entropy_bonus=False,
            clip_epsilon=(config.clip_low, config.clip_high),
            reduction="none",
        )
        self._parameters = list(policy.trained_parameters())
        self.optimizer = torch.optim.AdamW(self._parameters, config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        self.counters = Counters()
        self._updates, of_critic = FiniteUpdates(self.counters), FiniteUpdates(self.counters, "critic_")
        self._checked = self._updates, of_critic
        self.critic = Critic(policy.model, of_critic, config.critic_steps) if config.advantage == "gae" else None
        self.rate = 1.0
        self._stage1 = copy.deepcopy(policy.trained).requires_grad_(False)
        self.observed: tuple[str, ...] = (*OBSERVATION, "text") if policy.train_world else ()

    def state_dict(self) -> dict[str, Any]:
        """Weights and their version, optimizer, critic, counters."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return parts | {"version": self.policy.version}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError if the state is of another model or another kind of advantage."""
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        except RuntimeError as error:
            raise ValueError(str(error).split("\n")[0]) from error
        self.policy.version.copy_(state["version"])

    def _parts(self) -> dict[str, Any]:
        parts = {"trained": self.policy.trained, "noise": self.policy.noise, "critic": self.critic}
        parts |= {"optimizer": self.optimizer, "counters": self.counters}
        return {name: part for name, part in parts.items() if part is not None}

    def observe(self, rollouts: TensorDictBase) -> Metrics:
        """Writes `advantage` [N, T, 1] from ("next", "reward").

        Group-relative advantages of groups without both outcomes are 0.
        """
        mask = rollouts["collector", "mask"]
        reward = rollouts["next", "reward"][..., 0]
        returns = returns_to_go(reward, mask, self.config.gamma)
        metrics: Metrics = {}
        if self.config.advantage == "gae":
            advantage, metrics = self._gae(rollouts, reward, returns, mask)
        else:
            group = rollouts["seed"][:, 0, 0]
            mixed = mixed_groups(succeeded(rollouts), group)
            advantage = self._group_relative(rollouts, returns, mask, group) * mixed[:, None]
        rollouts["advantage"] = advantage[..., None]
        return metrics | {"advantage_abs": advantage[mask].abs().mean().item()}

    def _group_relative(self, rollouts: TensorDictBase, returns: Tensor, mask: Tensor, group: Tensor) -> Tensor:
        """A(R), or A(R_sparse) + w A(R_dense) each part divided by its own standard deviation (`dense_weight` w)."""
        config, weight = self.config, self.config.dense_weight
        estimate = group_advantage if config.advantage == "group" else trajectory_advantage
        if weight is None:
            return estimate(returns, mask, group, config.std_floor)
        earned = (rollouts["next", key].sum(-1) for key in ("reward_sparse", "reward_dense"))
        parts = (returns_to_go(part, mask, config.gamma) for part in earned)
        sparse, dense = (estimate(part, mask, group, config.std_floor) for part in parts)
        return sparse + weight * dense

    def _gae(
        self, rollouts: TensorDictBase, reward: Tensor, returns: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Advantages by the critic before it is fitted to these rollouts; 0 while it has seen none."""
        critic = cast(Critic, self.critic)
        advantage, metrics = torch.zeros_like(reward), {}
        if critic.fitted:
            with torch.no_grad():
                value = critic(rollouts)
            advantage = gae_advantage(reward, value, mask, self.config.gamma, self.config.gae_lambda)
            residual = (returns - value)[mask].var() / returns[mask].var().clamp_min(1e-6)
            metrics["critic/explained_variance"] = 1 - residual.item()
        metrics["critic/loss"] = critic.fit(rollouts, returns)
        return advantage, metrics

    def update(self, rollouts: TensorDictBase) -> Metrics:
        """Runs the update epochs over the decisions that have an advantage; returns means of the loss's metrics.

        Steps whose loss or gradient is not finite are skipped (`check`).
        """
        replayed = rollouts.select(*REPLAYED, *self.observed)
        counted = rollouts["collector", "mask"] & (rollouts["advantage"][..., 0] != 0)
        rows = counted.nonzero()  # minibatches are gathered one by one: a copy of everything costs seconds
        if len(rows) == 0:
            return {"update/decisions": 0.0}
        metrics: dict[str, list[float]] = defaultdict(list)
        self.optimizer.param_groups[0]["lr"] = rate = self.config.learning_rate * self.rate
        metrics["learning_rate"].append(rate)
        age = self.policy.version - rollouts["version"][counted][:, 0]
        metrics["updates_behind"].append(age.float().mean().item())
        if (age == 0).any():
            metrics["ratio_error_fresh"].append(self._check_ratio(self._gather(replayed, rows[age == 0][:CHECKED])))
        for _ in range(self.config.epochs):
            for part in torch.randperm(len(rows)).split(self.config.minibatch):
                for key, value in self._step(self._gather(replayed, rows[part])).items():
                    metrics[key].append(value)
        self.policy.version += 1
        metrics["kl_to_stage1"].append(self.kl_to_stage1(self._gather(replayed, rows[:CHECKED])))
        metrics["decisions"].append(float(len(rows)))
        return {f"update/{key}": sum(values) / len(values) for key, values in metrics.items()}

    def _step(self, decisions: TensorDictBase) -> Metrics:
        """One optimizer step on decisions [n]; nothing to log if it was skipped."""
        losses = self.loss(decisions)
        # For negative advantages PPO leaves the ratio unbounded: a few decisions with ratios of thousands would be the
        # whole gradient. Beyond DUAL_CLIP the loss is constant (dual-clip PPO, arXiv 1912.09729).
        loss = losses["loss_objective"].minimum(DUAL_CLIP * decisions["advantage"].abs()).mean()
        if self.config.anchor:
            loss = loss + self.config.anchor * self._kl_to_stage1(decisions[::ANCHORED])
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_gradient)
        if not self._updates.allow(loss, norm):
            return {}
        self.optimizer.step()
        logged = ("clip_fraction", "kl_approx", "ESS", "max_ratio", "mean_ratio")
        means = {key: losses[key].mean().item() for key in logged}
        return {"gradient_norm": norm.item(), "loss_objective": loss.item(), **means}

    def check(self, run: Path) -> None:
        """Raises UserError if three steps in a row, the action head's or the critic's, were skipped."""
        for updates in self._checked:
            updates.check(run, "--rl.learning-rate")

    def _gather(self, rollouts: TensorDictBase, rows: Tensor) -> TensorDictBase:
        """The decisions at `rows` i64 [n, 2] (rollout, decision) of rollouts [N, T]: [n], where the model is."""
        return rollouts[rows[:, 0], rows[:, 1]].to(self.policy.model.device)

    def _check_ratio(self, decisions: TensorDictBase) -> float:
        """Warns if the likelihood of fresh decisions [n] is not the one they were sampled with."""
        error = self.ratio_error(decisions)
        if error > RATIO_TOLERANCE:
            warnings.warn(
                f"decisions of the current weights have likelihood ratios up to {error:.1e} off 1, where rounding "
                "makes 1e-6: what is recomputed is not what was sampled (update/ratio_error_fresh in TensorBoard)",
                stacklevel=3,
            )
        return error

    @torch.no_grad()
    def ratio_error(self, decisions: TensorDictBase) -> float:
        """Largest |ratio - 1| of decisions that the current weights sampled; about 1e-6 is rounding."""
        log_prob = self.policy.get_dist(decisions).log_prob(decisions["sample"])
        return ((log_prob - decisions["sample_log_prob"]).exp() - 1).abs().max().item()

    @torch.no_grad()
    def kl_to_stage1(self, decisions: TensorDictBase) -> float:
        """KL divergence per denoising step between the current policy and Stage I's, on stored chains."""
        return self._kl_to_stage1(decisions).item()

    def _kl_to_stage1(self, decisions: TensorDictBase) -> Tensor:
        """The same, with a gradient for the current policy."""
        part = "model" if self.policy.train_world else "model.action"
        trained = self.policy.trained
        self.policy.set_submodule(part, self._stage1)
        try:
            with torch.no_grad():
                before = self.policy.get_dist(decisions)
        finally:
            self.policy.set_submodule(part, trained)
        return torch.distributions.kl_divergence(self.policy.get_dist(decisions), before).mean()

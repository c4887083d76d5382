"""One Stage II update: clipped policy gradient on the action head against the stored world context."""

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
from aim_rl.rl.critic import Critic
from aim_rl.rl.policy import OBSERVATION, AimPolicy
from aim_rl.runs.state import Counters, FiniteUpdates
from aim_rl.runs.statistics import rank_correlation

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
DUAL_CLIP = 3.0  # largest ratio that a decision with a negative advantage is reckoned with
WARM_UP = 0.1  # share of the training in which the learning rate rises
RATIO_TOLERANCE = 1e-4  # of the likelihood ratio of decisions that the present weights have sampled
CHECKED = 256  # decisions that the ratio and the divergence from Stage I are measured on


def learning_rate_share(trained: float) -> float:
    """Rises linearly to 1 while `trained`, the share of the training that is over, is below `WARM_UP`; falls to 0 then.

    Adam's first steps are as long as any and follow single gradients: without the rise, ratios reached 10^4 there.
    """
    return min(trained / WARM_UP, (1 - trained) / (1 - WARM_UP))


@dataclass
class PpoConfig:
    """The update's settings."""

    learning_rate: float = 2.5e-5
    """The highest; it rises over the first tenth of the iterations and then falls to 0."""
    epochs: int = 3
    minibatch: int = 512
    """Decisions per optimizer step."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    gamma: float = 0.9
    """Discount per decision."""
    advantage: Literal["group", "trajectory", "gae"] = "gae"
    """Returns compared within the group per decision or per rollout, or GAE with a critic on frozen features."""
    gae_lambda: float = 0.7
    std_floor: float = 0.1
    """Smallest standard deviation a group's returns are divided by; GAE has its own (aim_rl/rl/advantage.py)."""
    dense_weight: float | None = None
    """Normalises the returns of success and of the dense reward apart and weighs the second so, 1 the first; only
    without GAE. By default their weighted sum is normalised."""
    max_gradient: float = 1.0


class Ppo:
    """Optimizer, loss and the reference policy of Stage II.

    Rollouts and the critic stay on the CPU; minibatches of decisions go where the model is.

    Args:
        policy: its action head is trained; nothing else has a gradient.
        config: settings.

    Attributes:
        rate: what the learning rate is multiplied by (`learning_rate_share`); the training loop's to set.
        observed: keys that the update reads beside `REPLAYED`: none while the world streams are frozen.
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
        parameters = list(policy.trained_parameters())
        self.optimizer = torch.optim.AdamW(parameters, config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        self._parameters = parameters
        self.counters = Counters()
        self._updates, of_critic = FiniteUpdates(self.counters), FiniteUpdates(self.counters, "critic_")
        self._checked = self._updates, of_critic
        self.critic = Critic(policy.model, of_critic) if config.advantage == "gae" else None
        self.rate = 1.0
        self._stage1 = copy.deepcopy(policy.trained).requires_grad_(False)
        self.observed = (*OBSERVATION, "text") if policy.train_world else ()

    def state_dict(self) -> dict[str, Any]:
        """All that training changes: weights, how many updates they had seen, optimizers, the critic, counters."""
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

    def assign_advantages(self, rollouts: TensorDictBase) -> dict[str, float]:
        """Writes `advantage` [N, T, 1] from ("next", "reward") and returns what is worth logging.

        Groups without both outcomes keep their rows but get no group-relative advantage.
        """
        mask = rollouts["collector", "mask"]
        reward = rollouts["next", "reward"][..., 0]
        group = rollouts["seed"][:, 0, 0]
        success = cast(Tensor, (rollouts["next", "terminated"][..., 0] & mask).any(1))
        mixed = mixed_groups(success, group)
        returns = returns_to_go(reward, mask, self.config.gamma)
        metrics = {}
        match self.config.advantage:
            case "group" | "trajectory":
                advantage = self._group_relative(rollouts, returns, mask, group) * mixed[:, None]
            case "gae":
                advantage, metrics = self._gae(rollouts, reward, returns, mask)
        rollouts["advantage"] = advantage[..., None]
        dense = (rollouts["next", "reward_dense"].sum(-1) * mask).sum(1)
        steps = (rollouts["next", "executed"].sum(-1) * mask).sum(1)
        return metrics | {
            "success": success.float().mean().item(),
            "groups_mixed": mixed.float().mean().item(),
            "return": (reward * mask).sum(1).mean().item(),
            "return_dense": dense.mean().item(),
            "return_sparse": success.float().mean().item(),
            "dense_success_rank_correlation": rank_correlation(dense, success),
            "episode_steps": steps.float().mean().item(),
            "advantage_abs": advantage[mask].abs().mean().item(),
        }

    def _group_relative(self, rollouts: TensorDictBase, returns: Tensor, mask: Tensor, group: Tensor) -> Tensor:
        """A(R), or A(R_sparse) + w A(R_dense) with each part over its own standard deviation (`dense_weight` w)."""
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
        """Advantages by the critic as it was before it saw these rollouts; zero while it has seen none."""
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

    def update(self, rollouts: TensorDictBase) -> dict[str, float]:
        """Runs the update epochs over the decisions that carry an advantage; returns means of the loss's metrics.

        Updates whose loss or gradient is not finite are skipped (`check`).
        """
        replayed = rollouts.select(*REPLAYED, *self.observed)
        counted = rollouts["collector", "mask"] & (rollouts["advantage"][..., 0] != 0)
        rows = counted.nonzero()  # minibatches are gathered one by one: a copy of everything costs seconds
        metrics: dict[str, list[float]] = defaultdict(list)
        if len(rows) == 0:
            return {"update/decisions": 0.0}
        self.optimizer.param_groups[0]["lr"] = rate = self.config.learning_rate * self.rate
        metrics["learning_rate"].append(rate)
        age = self.policy.version - rollouts["version"][counted][:, 0]
        metrics["updates_behind"].append(age.float().mean().item())
        if (age == 0).any():
            error = self.ratio_error(self._gather(replayed, rows[age == 0][:CHECKED]))
            metrics["ratio_error_fresh"].append(error)
            if error > RATIO_TOLERANCE:
                warnings.warn(
                    f"decisions of the present weights have likelihood ratios up to {error:.1e} off 1, where rounding "
                    "makes 1e-6: what is recomputed is not what was sampled (update/ratio_error_fresh in TensorBoard)",
                    stacklevel=2,
                )
        for _ in range(self.config.epochs):
            for part in torch.randperm(len(rows)).split(self.config.minibatch):
                decisions = self._gather(replayed, rows[part])
                losses = self.loss(decisions)
                # Where the advantage is negative, PPO leaves the ratio unbounded: a few decisions with ratios of
                # thousands can be the gradient. Beyond DUAL_CLIP they count as much, but have none (arXiv 1912.09729).
                loss = losses["loss_objective"].minimum(DUAL_CLIP * decisions["advantage"].abs()).mean()
                self.optimizer.zero_grad()
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_gradient)
                if not self._updates.allow(loss, norm):
                    continue
                self.optimizer.step()
                metrics["gradient_norm"].append(norm.item())
                metrics["loss_objective"].append(loss.item())
                for key in ("clip_fraction", "kl_approx", "ESS", "max_ratio", "mean_ratio"):
                    metrics[key].append(losses[key].mean().item())
        self.policy.version += 1
        metrics["kl_to_stage1"].append(self.kl_to_stage1(self._gather(replayed, rows[:CHECKED])))
        metrics["decisions"].append(float(len(rows)))
        return {f"update/{key}": sum(values) / len(values) for key, values in metrics.items()}

    def check(self, run: Path) -> None:
        """Raises UserError once three updates in a row, the action head's or the critic's, were skipped."""
        for updates in self._checked:
            updates.check(run, "--rl.learning-rate")

    def _gather(self, rollouts: TensorDictBase, rows: Tensor) -> TensorDictBase:
        """The decisions at `rows` i64 [n, 2] (rollout, decision) of rollouts [N, T]: [n], where the model is."""
        return rollouts[rows[:, 0], rows[:, 1]].to(self.policy.model.device)

    @torch.no_grad()
    def ratio_error(self, decisions: TensorDictBase) -> float:
        """Largest |ratio - 1| of decisions that the present weights have sampled; about 1e-6 is rounding."""
        log_prob = self.policy.get_dist(decisions).log_prob(decisions["sample"])
        return ((log_prob - decisions["sample_log_prob"]).exp() - 1).abs().max().item()

    @torch.no_grad()
    def kl_to_stage1(self, decisions: TensorDictBase) -> float:
        """KL divergence per denoising step between the present policy and Stage I's, on stored chains."""
        now = self.policy.get_dist(decisions)
        part = "model" if self.policy.train_world else "model.action"
        trained = self.policy.trained
        self.policy.set_submodule(part, self._stage1)
        try:
            before = self.policy.get_dist(decisions)
        finally:
            self.policy.set_submodule(part, trained)
        return torch.distributions.kl_divergence(now, before).mean().item()

"""How much signal a batch has: do the gradients of its two halves agree?"""

from __future__ import annotations

from statistics import mean, pstdev
from typing import cast

import torch
from tensordict import TensorDictBase
from torch import Tensor

from aim_rl.finetune import simulate
from aim_rl.model import AIM
from aim_rl.rl.awr import Awr
from aim_rl.rl.config import FinetuneConfig
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import REPLAYED, Ppo
from aim_rl.rollout.groups import CompletedRollouts, training_batches
from aim_rl.runs.progress import progress
from experiments.diagnose.episodes import Row
from rewards.torchrl_transform import ValueMapRewardTransform

SPLITS = 2  # of each batch
DRAWS = 16  # minibatches of awr per gradient


def table_of_gradients(training: FinetuneConfig, model: AIM, batches: int) -> list[Row]:
    """Cosine between the gradients of two halves of a batch, by algorithm; halves share no scene.

    Each batch is one iteration's of training, of Stage I's rollouts. The first one only fits the critics. "awr, less
    cloning" is the gradient of awr's loss less that of the same loss with equal weights: what the advantages add.
    """
    torch.manual_seed(training.seed)
    policy = AimPolicy(model, model.preset.execute, training.exploration.sampler, training.exploration.noise_level)
    ppo, awr = Ppo(policy, training.rl), Awr(policy, training.awr)
    reward = ValueMapRewardTransform(training.reward_config(), model.preset.head_size)
    size = training.rollout.group_size * training.rollout.num_groups
    cosines: dict[str, list[float]] = {"ppo": [], "awr": [], "awr, less cloning": []}
    simulators = simulate(training, policy, awr.observed)
    try:
        with progress("Compare gradients", batches + 1, "batches") as bar:
            collected = training_batches(simulators, CompletedRollouts(), size)
            for number, rollouts in zip(range(batches + 1), collected, strict=False):
                reward(rollouts)
                ppo.observe(rollouts)
                awr.observe(rollouts)
                for _ in range(SPLITS if number else 0):
                    for name, pair in _of_halves(rollouts, ppo, awr).items():
                        cosines[name].append(torch.cosine_similarity(*pair, dim=0).item())
                bar.update(number + 1)
    finally:
        simulators.shutdown()
    return [
        {
            "algorithm": name,
            "batches": batches,
            "episodes each": size,
            "cosine, mean": round(mean(values), 3),
            "s.d.": round(pstdev(values), 3),
            "lowest": round(min(values), 3),
        }
        for name, values in cosines.items()
    ]


def _of_halves(rollouts: TensorDictBase, ppo: Ppo, awr: Awr) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> the gradients of two random halves of the scenes."""
    mask = rollouts["collector", "mask"]
    rows = mask.nonzero()
    scenes, scene = rollouts["seed"][:, 0, 0].unique(return_inverse=True)
    side = (torch.randperm(len(scenes)) < len(scenes) / 2)[scene][rows[:, 0]]
    replayed = rollouts.select(*REPLAYED)
    stored = awr.replay[:][-len(rows) :]
    equal = (mask / mask.sum(1, keepdim=True))[mask]
    found: dict[str, list[Tensor]] = {"ppo": [], "awr": [], "awr, less cloning": []}
    for half in (side, ~side):
        decisions = cast(TensorDictBase, replayed[rows[half][:, 0], rows[half][:, 1]]).to(ppo.policy.model.device)
        found["ppo"].append(_gradient(ppo.policy, ppo.loss(decisions)["loss_objective"].mean()))
        weighted, uniform = (_of_awr(awr, stored[half], weight[half]) for weight in (stored["weight"], equal))
        found["awr"].append(weighted)
        found["awr, less cloning"].append(weighted - uniform)
    return {name: (first, second) for name, (first, second) in found.items()}


def _of_awr(awr: Awr, decisions: TensorDictBase, weight: Tensor) -> Tensor:
    """The mean gradient of awr's loss over minibatches drawn by `weight` [n] from decisions [n]."""
    total = torch.zeros(())
    for _ in range(DRAWS):
        chosen = torch.multinomial(weight, awr.config.minibatch, replacement=True)
        losses = awr.loss(decisions[chosen].to(awr.policy.model.device))
        total = total + _gradient(awr.policy, losses["flow"] + awr.config.anchor * losses["anchor"]) / DRAWS
    return total


def _gradient(policy: AimPolicy, loss: Tensor) -> Tensor:
    """The gradient of a loss by the action head's weights, as one vector."""
    parameters = list(policy.trained.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients]).cpu()

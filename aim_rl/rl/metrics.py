"""What is logged of a batch of rollouts, whatever the algorithm."""

from __future__ import annotations

from typing import cast

from tensordict import TensorDictBase
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from aim_rl.rl.advantage import mixed_groups
from aim_rl.rollout.videos import draw_decision
from aim_rl.runs.statistics import rank_correlation


def succeeded(rollouts: TensorDictBase) -> Tensor:
    """Bool [N]: which rollouts [N, T] ended in success."""
    return cast(Tensor, (rollouts["next", "terminated"][..., 0] & rollouts["collector", "mask"]).any(1))


def describe_rollouts(rollouts: TensorDictBase) -> dict[str, float]:
    """Means over rollouts [N, T] with rewards: success, returns per episode, length in control steps."""
    mask, success = rollouts["collector", "mask"], succeeded(rollouts)
    dense = (rollouts["next", "reward_dense"].sum(-1) * mask).sum(1)
    steps = (rollouts["next", "executed"].sum(-1) * mask).sum(1)
    return {
        "success": success.float().mean().item(),
        "groups_mixed": mixed_groups(success, rollouts["seed"][:, 0, 0]).float().mean().item(),
        "return": (rollouts["next", "reward"][..., 0] * mask).sum(1).mean().item(),
        "return_dense": dense.mean().item(),
        "return_sparse": success.float().mean().item(),
        "dense_success_rank_correlation": rank_correlation(dense, success),
        "episode_steps": steps.float().mean().item(),
    }


def count(rollouts: TensorDictBase) -> dict[str, int]:
    """Episodes, environment (control) steps and decisions of rollouts [N, T]."""
    mask = rollouts["collector", "mask"]
    steps = (rollouts["next", "executed"].sum(-1) * mask).sum()
    return {"episodes": len(rollouts), "environment_steps": int(steps), "decisions": int(mask.sum())}


def log_pictures(writer: SummaryWriter, rollouts: TensorDictBase, step: int) -> None:
    """The first rollout's first decisions: frame, predicted map, projected commanded TCP positions."""
    for index in range(min(4, int(rollouts["collector", "mask"][0].sum()))):
        decision = cast(TensorDictBase, rollouts[0, index])
        picture = draw_decision(
            decision["head_camera"],
            decision["value_map"][0],
            decision["commanded_tcp"][: decision["next", "executed"].shape[-1]],
            decision["head_camera_intrinsic"],
            decision["head_camera_extrinsic"],
        )
        writer.add_image(f"rollout/decision_{index}", picture, step, dataformats="HWC")

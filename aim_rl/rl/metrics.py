"""What is logged of a batch of rollouts, whatever the algorithm."""

from __future__ import annotations

from typing import Any, cast

from tensordict import TensorDictBase
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from aim_rl.rl.advantage import mixed_groups
from aim_rl.rollout.videos import draw_decision
from aim_rl.runs.dashboard import add_animation
from aim_rl.runs.pictures import Image
from aim_rl.runs.statistics import rank_correlation, success_rate


def succeeded(rollouts: TensorDictBase) -> Tensor:
    """Bool [N]: which rollouts [N, T] ended in success."""
    return cast(Tensor, (rollouts["next", "terminated"][..., 0] & rollouts["collector", "mask"]).any(1))


def describe_rollouts(rollouts: TensorDictBase) -> dict[str, float]:
    """Means over rollouts [N, T] with rewards: success, returns per episode, length in control steps."""
    mask, success = rollouts["collector", "mask"], succeeded(rollouts)
    dense = (rollouts["next", "reward_dense"].sum(-1) * mask).sum(1)
    steps = (rollouts["next", "executed"].sum(-1) * mask).sum(1)
    rate = interval("success", int(success.sum()), len(success))
    return {
        **rate,
        "groups_mixed": mixed_groups(success, rollouts["seed"][:, 0, 0]).float().mean().item(),
        "return": (rollouts["next", "reward"][..., 0] * mask).sum(1).mean().item(),
        "return_dense": dense.mean().item(),
        "return_sparse": rate["success"],
        "dense_success_rank_correlation": rank_correlation(dense, success),
        "episode_steps": steps.float().mean().item(),
    }


def count(rollouts: TensorDictBase) -> dict[str, int]:
    """Episodes, environment (control) steps and decisions of rollouts [N, T]."""
    mask = rollouts["collector", "mask"]
    steps = (rollouts["next", "executed"].sum(-1) * mask).sum()
    return {"episodes": len(rollouts), "environment_steps": int(steps), "decisions": int(mask.sum())}


def interval(name: str, successes: int, episodes: int) -> dict[str, float]:
    """A success rate under `name`, and its Wilson 95 % interval under `name`_ci_low and `name`_ci_high."""
    rate = success_rate(successes, episodes)
    return {name: rate["success_rate"], f"{name}_ci_low": rate["ci_low"], f"{name}_ci_high": rate["ci_high"]}


def log_videos(writer: SummaryWriter, rollouts: TensorDictBase, step: int) -> None:
    """The first success and the first failure of rollouts [N, T], a picture per decision."""
    success = succeeded(rollouts)
    for name, chosen in (("success", success), ("failure", ~success)):
        if chosen.any():
            rollout = cast(TensorDictBase, rollouts[int(chosen.nonzero()[0])])
            add_animation(writer, f"rollout/{name}", _draw(rollout), step)


def _draw(rollout: TensorDictBase) -> list[Image]:
    """Frame, predicted map and projected commanded TCP positions of each decision of a rollout [T]."""
    decisions: list[Any] = list(rollout[rollout["collector", "mask"]].unbind(0))
    return [
        draw_decision(
            decision["head_camera"],
            decision["value_map"][0],
            decision["commanded_tcp"][: decision["next", "executed"].shape[-1]],
            decision["head_camera_intrinsic"],
            decision["head_camera_extrinsic"],
        )
        for decision in decisions
    ]

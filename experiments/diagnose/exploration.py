"""What exploration offers: many tries of one scene, and many chunks at one state shortly before a failure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from aim_rl.model import AIM
from aim_rl.rl.config import FinetuneConfig
from aim_rl.rl.exploration import Sampler
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.shared_memory import check_shared_memory
from aim_rl.rollout.training import TrainingRollouts
from aim_rl.runs.progress import progress
from envs.base import Snapshot
from envs.tabletop.env import TabletopEnv
from experiments.diagnose.episodes import ENVIRONMENTS, Episode, Row, make_envs, roll_out

EXPLORED: tuple[tuple[Sampler, float], ...] = (("initial_noise", 0.5), ("initial_noise", 1.0), ("flow_noise", 0.16))
"""Samplers and noise levels that are compared."""
OWN_LAW: tuple[Sampler, float] = ("initial_noise", 1.0)
"""Draws from the distribution of chunks that the head has learned."""
OFFSETS = (-4, 0, 4)
"""Decisions between an episode's last new interaction and the states that are branched from."""


def table_of_tries(
    training: FinetuneConfig, model: AIM, episodes: Sequence[Episode], scenes: int, tries: int
) -> tuple[list[Row], list[Row]]:
    """Success of `tries` explored episodes per scene: a row per sampler, and one per sampler and scene.

    Args:
        training: step limit and processes.
        model: of the policy.
        episodes: the policy's own ones, the first of which are the scenes.
        scenes, tries: how many.
    """
    limit = training.rollout.step_limit
    alone = {one.seed: one.solved and one.steps <= limit for one in episodes[:scenes]}
    rows, each = [], []
    tried = {("none", 0.0): {seed: [solved] for seed, solved in alone.items()}}
    for sampler, level in EXPLORED:
        policy = AimPolicy(model, model.preset.execute, sampler, level)
        tried[sampler, level] = explore(training, policy, list(alone), tries, f"Explore by {sampler} at {level}")
    for (sampler, level), outcomes in tried.items():
        once = {seed: any(solved) for seed, solved in outcomes.items()}
        failed = [seed for seed, solved in alone.items() if not solved]
        rows.append(
            {
                "sampler": sampler,
                "noise level": level,
                "scenes": len(outcomes),
                "tries each": 1 if sampler == "none" else tries,
                "success, mean": round(sum(sum(one) / len(one) for one in outcomes.values()) / len(outcomes), 3),
                "solved at least once": round(sum(once.values()) / len(once), 3),
                "failed without noise": len(failed),
                "of these solved at least once": sum(once[seed] for seed in failed),
            }
        )
        each += [
            {
                "sampler": sampler,
                "noise level": level,
                "seed": one.seed,
                "kind of scene": one.kind,
                "solved": sum(outcomes[one.seed]),
                "tries": len(outcomes[one.seed]),
            }
            for one in episodes[:scenes]
        ]
    return rows, each


def explore(
    training: FinetuneConfig, policy: AimPolicy, scenes: list[int], tries: int, title: str
) -> dict[int, list[bool]]:
    """Outcomes of `tries` episodes of each of these consecutive seeds, rolled out as in training."""
    config = replace(training.rollout_config(policy.model), group_size=tries, first_seed=scenes[0])
    check_shared_memory(policy, config.workers)
    simulators = TrainingRollouts(config, policy, training.seed)
    outcomes: dict[int, list[bool]] = defaultdict(list)
    try:
        with progress(title, len(scenes), "scenes") as bar:
            for rollouts in simulators:
                for rollout in rollouts:
                    if (seed := int(rollout["seed"][0])) in scenes:
                        outcomes[seed].append(bool(rollout["next", "terminated"].any()))
                bar.update(len(outcomes))
                if len(outcomes) == len(scenes):
                    break
    finally:
        simulators.shutdown()
    return dict(outcomes)


def table_of_branches(
    policy: AimPolicy, task: str, episodes: Sequence[Episode], tries: int, limit: int
) -> tuple[list[Row], list[Row]]:
    """Whether the head's own chunks hold one that saves an episode that is about to fail.

    Each failed episode is restored at the decision during which its last new interaction happened, and a few decisions
    earlier and later. From there the policy goes on as it is, and `tries` times with a first chunk drawn from its own
    distribution.

    Args:
        policy: without exploration.
        task: of the episodes.
        episodes: failed ones.
        tries: chunks per state.
        limit: control steps from the restored state on.

    Returns:
        a row per place in the episode, and one per state.
    """
    execute = policy.execute
    places: list[tuple[int, Episode, Snapshot]] = []
    for offset, one in itertools.product(OFFSETS, episodes):
        last = max(one.interactions[-1][0] - 1, 0) // execute if one.interactions else 0
        if 0 <= last + offset < len(one.snapshots):
            places.append((offset, one, one.snapshots[last + offset]))
    states = [state for _, _, state in places]
    alone = outcomes(policy, task, states, None, limit, "Go on from states before failures")
    explorer = AimPolicy(policy.model, execute, *OWN_LAW)
    torch.manual_seed(0)
    repeated = [state for state in states for _ in range(tries)]
    drawn = outcomes(policy, task, repeated, explorer, limit, f"Try {tries} chunks at each")
    each = [
        {
            "decisions after the last interaction": where,
            "seed": one.seed,
            "kind of scene": one.kind,
            "control step": state.steps,
            "last interaction": one.ending,
            "solved without noise": alone[number],
            "chunks that solve it": sum(drawn[number * tries : (number + 1) * tries]),
            "chunks": tries,
        }
        for number, (where, one, state) in enumerate(places)
    ]
    return _by_offset(each, tries), each


def _by_offset(each: Sequence[Row], tries: int) -> list[Row]:
    """Sums up the states of `table_of_branches` by their place in the episode."""
    rows = []
    for where in dict.fromkeys(row["decisions after the last interaction"] for row in each):
        own = [row for row in each if row["decisions after the last interaction"] == where]
        failed = [row for row in own if not row["solved without noise"]]
        saved = sum(row["chunks that solve it"] > 0 for row in failed)
        rows.append(
            {
                "decisions after the last interaction": where,
                "states": len(own),
                "solved without noise": len(own) - len(failed),
                "chunks that solve it, mean": round(
                    sum(row["chunks that solve it"] for row in own) / (tries * len(own)), 3
                ),
                "failed without noise": len(failed),
                "of these solved by a chunk": saved,
                "share": round(saved / max(len(failed), 1), 3),
            }
        )
    return rows


def outcomes(
    policy: AimPolicy, task: str, starts: Sequence[Snapshot], first: AimPolicy | None, limit: int, title: str
) -> list[bool]:
    """Success from each start."""
    envs = make_envs(task, policy.model, TabletopEnv, min(ENVIRONMENTS, len(starts)))
    ended: dict[int, bool] = {}
    with progress(title, len(starts), "episodes") as bar:
        for index, _, decision, solved in roll_out(policy, envs, starts, first, limit):
            if decision is None:
                ended[index] = solved
                bar.update(len(ended), f"success {sum(ended.values())}/{len(ended)}")
    return [ended[index] for index in range(len(starts))]

"""Episodes of a policy in this process, watched: what the arms did, where the bodies were, and how they ended."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from aim_rl.model import AIM
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout.environments import InstructionTokens
from aim_rl.runs.progress import progress
from aim_rl.runs.statistics import success_rate
from envs.base import Snapshot
from envs.constants import ARMS, PICK, PLACE
from envs.contacts import FURNITURE, ContactRecorder
from envs.tabletop.env import TabletopEnv
from envs.wrappers import ChunkEnv, FiniteObservations

ENVIRONMENTS = 16  # that share a batch of the policy
NAMED = 3  # bodies: with more, a kind of scene counts them
Row = dict[str, Any]
"""Of a table: column -> value."""


class WatchedEnv(TabletopEnv):
    """Records the contacts of an episode from its start on."""

    recorder: ContactRecorder

    def restart(self, seed: int) -> None:
        super().restart(seed)
        self.recorder = ContactRecorder(self.scene)
        self.recorder.record()

    def control(self, action: NDArray[np.floating]) -> bool:
        solved = super().control(action)
        self.recorder.record()
        return solved


class Moment(NamedTuple):
    """One decision of an episode, before it is executed; or its end, where `decision` is None."""

    episode: int
    """Index of its start."""
    env: Any
    """The environment, of the class that `make_envs` was given."""
    decision: TensorDictBase | None
    """The observation with what the policy wrote."""
    solved: bool


def make_envs(task: str, model: AIM, kind: type[TabletopEnv], number: int) -> list[gym.Env[Any, Any]]:
    """Environments as in evaluation."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread per process
    preset = model.preset
    tasks = [kind(task, "clean", preset.head_size, preset.wrist_size, action_mode="ee") for _ in range(number)]
    chunked = (FiniteObservations(ChunkEnv(env, preset.execute)) for env in tasks)
    return [InstructionTokens(env, preset, model.text.tokenize) for env in chunked]


def roll_out(
    policy: AimPolicy,
    envs: Sequence[gym.Env[Any, Any]],
    starts: Sequence[int | Snapshot],
    first: AimPolicy | None = None,
    limit: int | None = None,
) -> Iterator[Moment]:
    """Rolls out one episode from each start, as many at once as there are environments.

    Args:
        policy: decides; remembers nothing.
        envs: from `make_envs`.
        starts: a seed, or a snapshot to branch from.
        first: decides in place of `policy` at every start.
        limit: control steps from the start on; the task's own limit holds too.
    """
    for offset in range(0, len(starts), len(envs)):
        observations = {}
        for row, start in enumerate(starts[offset : offset + len(envs)]):
            seed, options = (start.seed, {"snapshot": start}) if isinstance(start, Snapshot) else (start, None)
            observations[row] = envs[row].reset(seed=seed, options=options)[0]
        steps = [env.get_wrapper_attr("steps") for env in envs]
        decide = first or policy
        while observations:
            seen = observations.values()
            batch = {key: torch.from_numpy(np.stack([one[key] for one in seen])) for key in next(iter(seen))}
            decisions = decide(TensorDict(batch, [len(seen)]))
            decide = policy
            for row, decision in zip(list(observations), decisions, strict=True):
                env = envs[row]
                yield Moment(offset + row, env.unwrapped, decision, False)
                observations[row], _, solved, truncated, _ = env.step(decision["action"].numpy())
                late = limit is not None and env.get_wrapper_attr("steps") >= steps[row] + limit
                if solved or truncated or late:
                    del observations[row]
                    yield Moment(offset + row, env.unwrapped, None, solved)


@dataclass
class Episode:
    """One episode of the policy. Lists have one entry per decision."""

    seed: int
    kind: str
    """On which side of the table each body begins."""
    snapshots: list[Snapshot] = field(default_factory=list)
    positions: list[dict[str, NDArray[np.floating]]] = field(default_factory=list)
    """Body -> its position [3] (m, world)."""
    inputs: list[dict[str, Tensor]] = field(default_factory=list)
    """What a probe may read: `keypoints` and `keys and values`, each with proprioception, [n]."""
    interactions: list[tuple[int, str]] = field(default_factory=list)
    """(control step, what an arm did), in order; see `interactions`."""
    solved: bool = False
    steps: int = 0
    held: bool = False
    """Whether a failed episode ends with a body in the gripper that picked it up last."""

    def phase(self, step: int) -> str:
        """The last interaction up to a control step."""
        return next((label for at, label in reversed(self.interactions) if at <= step), "start")

    @property
    def ending(self) -> str:
        """The last interaction."""
        return self.phase(self.steps)


def watch(policy: AimPolicy, task: str, seeds: Sequence[int]) -> list[Episode]:
    """Rolls out one episode of each seed without exploration, to the task's own step limit."""
    envs = make_envs(task, policy.model, WatchedEnv, min(ENVIRONMENTS, len(seeds)))
    episodes: dict[int, Episode] = {}
    ended = 0
    with progress(f"Watch {task}", len(seeds), "episodes") as bar:
        for index, env, decision, solved in roll_out(policy, envs, seeds):
            if index not in episodes:
                episodes[index] = Episode(seeds[index], kind_of_scene(env))
            episode = episodes[index]
            if decision is not None:
                episode.snapshots.append(env.snapshot())
                episode.positions.append(positions(env))
                episode.inputs.append(probe_inputs(decision))
                continue
            episode.solved, episode.steps = solved, env.steps
            episode.interactions = interactions(env.recorder)
            episode.held = not solved and holds_something(env)
            ended += 1
            bar.update(ended, f"success {sum(one.solved for one in episodes.values())}/{ended}")
    return [episodes[index] for index in range(len(seeds))]


def positions(env: TabletopEnv) -> dict[str, NDArray[np.floating]]:
    """World positions [3] (m) of the task's bodies; furniture and clutter are left out."""
    bodies = env.scene.bodies.items()
    return {name: body.position for name, body in bodies if name not in FURNITURE and not name.startswith("clutter")}


def kind_of_scene(env: TabletopEnv) -> str:
    """On which side of the table each body is: "red_block left, green_block right"."""
    side = {
        name: "left" if at[0] < 0 else "right"
        for name, at in positions(env).items()
        if not env.scene.bodies[name].is_link
    }
    if len(side) <= NAMED:
        return ", ".join(f"{name} {where}" for name, where in side.items())
    return ", ".join(f"{count} {where}" for where, count in sorted(Counter(side.values()).items()))


def probe_inputs(decision: TensorDictBase) -> dict[str, Tensor]:
    """Keypoints, and means over the tokens of the context's keys and values."""
    state = decision["proprio"]
    pooled = decision["context_kv"].float().mean(-2).flatten()
    return {
        "keypoints": torch.cat([decision["context_keypoints"], state]),
        "keys and values": torch.cat([pooled, state]),
    }


def interactions(recorder: ContactRecorder) -> list[tuple[int, str]]:
    """(control step, what an arm did) of an episode, in order: touches and contact events, each when it is new.

    A pick by the other arm while the first one has not placed the body is a "take over".
    """
    found = [(step, f"touch {body}") for body, step in recorder.touched().items()]
    held: dict[int, str] = {}  # arm -> body
    for event in recorder.events():
        if event.kind == PICK:
            handed = held.get(1 - event.arm) == event.body
            held[event.arm] = event.body
            found.append((event.frame, f"{'take over' if handed else 'pick'} {event.body}"))
        elif event.kind == PLACE:
            found.append((event.frame, f"place {held.pop(event.arm, 'a body')} on {event.body}"))
        else:
            found.append((event.frame, f"press {event.body}"))
    first: dict[str, int] = {}
    for step, label in sorted(found, key=lambda one: one[0]):  # stable: a touch before the pick of the same step
        first.setdefault(label, step)
    return [(step, label) for label, step in first.items()]


def holds_something(env: WatchedEnv) -> bool:
    """Whether a finger touches the body that its arm has picked up last."""
    last = {ARMS[event.arm]: event.body for event in env.recorder.events() if event.kind == PICK}
    return any(env.task.skills.touches(arm, env.scene.bodies[body]) for arm, body in last.items())


def table_of_endings(episodes: Sequence[Episode]) -> list[Row]:
    """How far episodes get: a row per interaction, in the order in which they first happen."""
    firsts = [{"start": 0} | {label: step for step, label in one.interactions} for one in episodes]
    steps = {label: median(first[label] for first in firsts if label in first) for label in set().union(*firsts)}
    rows = []
    for label in sorted(steps, key=lambda label: (steps[label], label)):
        had = [one for one, first in zip(episodes, firsts, strict=True) if label in first]
        ended = [one for one in had if not one.solved and one.ending == label]
        rows.append(
            {
                "interaction": label,
                "episodes": len(had),
                "of these solved": sum(one.solved for one in had),
                "failed after it": len(ended),
                "of these holding a body": sum(one.held for one in ended),
                "median control step": steps[label],
            }
        )
    return rows


def table_of_kinds(episodes: Sequence[Episode]) -> list[Row]:
    """Success by kind of scene, the most frequent kind first."""
    rows = []
    for kind, count in Counter(one.kind for one in episodes).most_common():
        own = [one for one in episodes if one.kind == kind]
        rate = success_rate(sum(one.solved for one in own), count)
        endings = Counter(one.ending for one in own if not one.solved).most_common(2)
        rows.append(
            {
                "kind of scene": kind,
                "episodes": count,
                "solved": rate["successes"],
                "success": round(rate["success_rate"], 3),
                "low": round(rate["ci_low"], 3),
                "high": round(rate["ci_high"], 3),
                "most failures end after": "; ".join(f"{label} ({number})" for label, number in endings),
            }
        )
    return rows


def table_of_episodes(episodes: Sequence[Episode]) -> list[Row]:
    """One row per episode."""
    keys: dict[str, Callable[[Episode], Any]] = {
        "seed": lambda one: one.seed,
        "kind of scene": lambda one: one.kind,
        "solved": lambda one: one.solved,
        "control steps": lambda one: one.steps,
        "last interaction": lambda one: one.ending,
    }
    return [{key: read(one) for key, read in keys.items()} for one in episodes]

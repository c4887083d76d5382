"""Episodes of given seeds, each rolled out once by a policy in the main process."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor

from aim_rl.rollout.environments import RolloutConfig, make_envs, new_episodes
from aim_rl.rollout.policy import Policy
from aim_rl.rollout.pool import Slot, WorkerPool
from aim_rl.rollout.transfer import Arrays, as_arrays, as_tensors
from aim_rl.rollout.worker import LOCAL, Channel, Transport, send_answer
from aim_rl.runs.folder import one_thread
from aim_rl.runs.progress import progress
from envs.backend import TABLETOP, Backend


@one_thread()
@torch.no_grad()
def run_episodes(
    policy: Policy,
    *,
    task: str,
    setting: str,
    first_seed: int,
    episodes: int,
    workers: int = 2,
    title: str = "evaluate",
    simulator: Backend = TABLETOP,
    instructions: str = "seen",
    step_limit: int | None = None,
) -> dict[int, bool]:
    """Success of each seed first_seed .. first_seed + episodes - 1.

    Args:
        policy: decides in this process.
        task, setting: what is rolled out.
        first_seed: of `episodes` consecutive seeds.
        workers: processes.
        title: of the progress line; "": none, for inside of another one.
        simulator: runs the environments.
        instructions: "seen" or "unseen".
        step_limit: control steps of an episode; None: RoboTwin's limit.
    """
    workers, preset = min(workers, episodes), policy.model.preset
    last_seed = first_seed + episodes - 1
    config = RolloutConfig(
        task=task,
        setting=setting,
        preset=preset,
        tokenize=policy.model.text.tokenize,
        execute=preset.execute,
        step_limit=step_limit,
        workers=workers,
        envs_per_worker=simulator.default_envs_per_worker(min(8, -(-episodes // workers))),
        first_seed=first_seed,
        last_seed=last_seed,
        simulator=simulator,
        evaluation=True,
        instructions=instructions,
    )
    outcome: dict[int, bool] = {}
    environments = EvaluationEnvs(config)
    try:
        with progress(title, episodes, "episodes") as bar:
            observations = environments.reset()
            while len(outcome) < episodes:
                observations, ended = environments.step(policy(observations)["action"])
                for seed, success in ended.items():
                    outcome.setdefault(seed, success)  # idle environments run the last seed again
                bar.update(len(outcome), f"success {sum(outcome.values())}/{len(outcome)}")
    finally:
        environments.close()
    return dict(sorted(outcome.items()))


class EvaluationEnvs:
    """The environments of all workers as one batch; each seed is rolled out once.

    A process that dies, hangs or simulates NaN is replaced; the new one begins with the unfinished seeds.

    Args:
        config: what the processes run; at least one seed per worker from `first_seed` to `last_seed`.
        transport: where the workers run.
    """

    def __init__(self, config: RolloutConfig, transport: Transport = LOCAL) -> None:
        self._config = config
        self._finished: set[int] = set()
        jobs = [_Seeds(config, worker, self._finished) for worker in range(config.workers)]
        self._pool = WorkerPool(_host, jobs, transport)

    def reset(self) -> TensorDictBase:
        """The first observations [workers * environments]."""
        return self._ask([None] * self._config.workers)[0]

    def step(self, action: Tensor) -> tuple[TensorDictBase, dict[int, bool]]:
        """One decision of every environment.

        Args:
            action: chunks [workers * environments, execute, action size].

        Returns:
            The next observations; seed -> success of the episodes that ended.

        Raises:
            UserError: three processes in a row were lost without a finished episode, or one of them says what to fix.
        """
        return self._ask(action.numpy().reshape(self._config.workers, self._config.envs_per_worker, *action.shape[1:]))

    def close(self) -> None:
        """Ends the processes."""
        self._pool.close()

    def _ask(self, requests: Iterable[Any]) -> tuple[TensorDictBase, dict[int, bool]]:
        for slot, request in zip(self._pool.slots, requests, strict=True):
            slot.ask(request)
        observations, ended = [], {}
        for slot in self._pool.slots:
            arrays, outcome = _answer(slot)
            observations.append(as_tensors(arrays))
            ended |= outcome
        self._finished |= set(ended)
        return cast(TensorDictBase, torch.cat(observations)), ended


class _Seeds:
    """The job of one slot: the worker's seeds that are not finished."""

    name = "simulator process"

    def __init__(self, config: RolloutConfig, worker: int, finished: set[int]) -> None:
        self._config, self._worker, self._finished = config, worker, finished

    def start(self, losses: int) -> tuple[RolloutConfig, int, set[int]]:
        return self._config, self._worker, self._finished

    def after_loss(self) -> str:
        return "continues with its seeds"

    def failure(self) -> str:
        return "in a row without a finished episode; if memory is short, take fewer --workers"


def _answer(slot: Slot[_Seeds]) -> tuple[Arrays, dict[int, bool]]:
    """Observations and outcomes of a worker; a replacement answers with its first observations."""
    while (answer := slot.answer()) is None:
        slot.ask(None)
    if answer[1]:
        slot.made_progress()
    return answer


def _host(channel: Channel, config: RolloutConfig, worker: int, finished: set[int]) -> None:
    """The worker process: a request is None (reset) or chunks [environments, execute, action size]."""
    torch.set_num_threads(1)
    first, last = config.first_seed + worker, config.last_seed
    assert last is not None
    seeds = range(first, last + 1, config.workers)
    unfinished = (seed for seed in seeds if seed not in finished)
    # Then the last seed again and again: RoboTwin's expert has tried it already, and a new seed would cost its time.
    env = make_envs(config, worker, new_episodes(config, itertools.chain(unfinished, itertools.repeat(seeds[-1]))))
    try:
        tensordict, ended = env.reset(), {}
        while True:
            request = channel.recv()
            if request is not None:
                tensordict["action"] = torch.from_numpy(request)
                tensordict, following = env.step_and_maybe_reset(tensordict)
                done, success = tensordict["next", "done"], tensordict["next", "terminated"]
                ended = dict(zip(tensordict["seed"][done].tolist(), success[done].tolist(), strict=True))
                tensordict = following
            send_answer(channel, (as_arrays(tensordict), ended))
    finally:
        env.close()

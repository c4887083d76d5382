"""Stage II's processes when they die, hang or simulate nonsense: replaced, counted, and nothing of them stays."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing as mp
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from tensordict import TensorDictBase

from aim_rl.model import AIM, PRESETS
from aim_rl.model.text import word_tokenizer
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import environments as rollout
from aim_rl.rollout import simulators
from aim_rl.rollout.environments import RolloutConfig, unpack
from aim_rl.rollout.simulators import Simulators
from aim_rl.rollout.worker import Worker, WorkerLost
from aim_rl.runs.folder import one_thread
from envs.backend import Backend
from envs.errors import UserError
from envs.wrappers import FiniteObservations

from ..pretend_gpu import PretendedGpu
from . import faulty_worker

REPOSITORY = Path(__file__).parents[3]
TINY = PRESETS["tiny"]
CONFIG = RolloutConfig(
    task="click_bell",
    setting="clean",
    preset=TINY,
    tokenize=word_tokenizer(TINY),
    execute=TINY.execute,
    step_limit=16,
    workers=2,
    envs_per_worker=2,
    group_size=2,
    first_seed=40,
)


def seeds_of(rollouts: list[TensorDictBase]) -> list[int]:
    return [int(rollout["seed"][0]) for rollout in rollouts]


# -- which seeds come when processes are lost, without processes ---------------------------------------------------


class Toy:
    """Stands in for `Worker`: each round ends one group; the faults asked for are in place of the policy's keys."""

    def __init__(self, _: Any, config: RolloutConfig, __: Any, worker: int, faults: Any, *place: Any) -> None:
        self._faults, (_, self._lost, first, through, _) = faults, place
        self._seeds = (seed for seed in itertools.count(first, config.workers) if seed not in through)

    def ask(self, request: str) -> None:
        self._asked = request

    def answer(self, timeout: float) -> Any:
        if self._asked == "snapshot":
            if not self._lost:
                raise WorkerLost("was killed by SIGKILL")
            return 0.01, {"begun": [None] * CONFIG.envs_per_worker}
        seed = next(self._seeds)
        if seed in self._faults["dies"] or (seed in self._faults["dies once"] and not self._lost):
            raise WorkerLost("was killed by SIGKILL")
        return 0.01, {"lengths": [1, 1], "decisions": {"seed": np.full((2, 1), seed)}}

    def close(self) -> None:
        pass


class Nobody:
    def share_memory(self) -> None:
        pass


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[int], int]]:
    """`rounds(count, ...)`: the seeds that `count` rounds of two processes deliver, and how many were replaced."""
    monkeypatch.setattr(simulators, "Worker", Toy)
    monkeypatch.setattr(simulators, "tuple", lambda faults: faults, raising=False)

    def run(count: int, dies: Any = (), dies_once: Any = ()) -> tuple[list[int], int]:
        pool: Any = Simulators(CONFIG, cast(Any, Nobody()), 0, cast(Any, {"dies": dies, "dies once": dies_once}))
        delivered = [seed for some in itertools.islice(pool, count) for seed in seeds_of(some)]
        assert delivered[::2] == delivered[1::2]
        return delivered[::2], pool.restarts

    return run


def test_a_lost_process_is_replaced_at_its_seed(rounds: Callable[..., Any]) -> None:
    with pytest.warns(UserWarning, match=r"a simulator process was killed by SIGKILL; another one goes on at seed 42$"):
        assert rounds(4, dies_once=[42]) == ([40, 41, 43, 42, 45, 44, 47], 1)  # none is missing


@pytest.mark.filterwarnings("ignore:a simulator process")
def test_a_seed_that_kills_is_given_up(rounds: Callable[..., Any]) -> None:
    assert rounds(5, dies=[42]) == ([40, 41, 43, 45, 44, 47, 46, 49], 2)


@pytest.mark.filterwarnings("ignore:a simulator process")
def test_a_machine_that_kills_everything_ends_the_run(rounds: Callable[..., Any]) -> None:
    with pytest.raises(
        UserError, match=r"was killed by SIGKILL, the third in a row.*fewer --envs-per-worker or --workers"
    ):
        rounds(9, dies=range(40, 60))


def test_a_hang_makes_nobody_wait_longer_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are taken one after another; what one process hangs is no round of the next one's."""
    waited: list[float] = []

    class Hangs(Toy):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._first = args[3] == 0

        def answer(self, timeout: float) -> Any:
            if not self._first:
                waited.append(timeout)
            elif not self._lost:
                time.sleep(0.2)
                raise WorkerLost("did not answer")
            return super().answer(timeout)

    monkeypatch.setattr(simulators, "Worker", Hangs)
    monkeypatch.setattr(simulators, "tuple", lambda faults: faults, raising=False)
    monkeypatch.setattr(simulators, "MIN_TIMEOUT", 0.0)
    pool: Any = Simulators(CONFIG, cast(Any, Nobody()), 0, cast(Any, {"dies": (), "dies once": ()}))
    with pytest.warns(UserWarning, match="did not answer"):
        list(itertools.islice(pool, 3))
    assert waited == [simulators.ANSWER_TIMEOUT, pytest.approx(0.1 / 3), pytest.approx(0.1)]  # rounds of 0.01 s


@pytest.mark.filterwarnings("ignore:a simulator process")
def test_processes_that_are_lost_while_the_state_is_saved_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the run that saved it, and in the one that goes on with it."""
    monkeypatch.setattr(simulators, "Worker", Toy)
    monkeypatch.setattr(simulators, "tuple", lambda faults: faults, raising=False)
    pools: Any = [
        Simulators(CONFIG, cast(Any, Nobody()), 0, cast(Any, {"dies": (), "dies once": ()})) for _ in range(2)
    ]
    next(iter(pools[0]))
    state = pools[0].state_dict()
    assert pools[0].restarts == CONFIG.workers
    pools[1].load_state_dict(state)
    next(iter(pools[1]))
    assert pools[1].restarts == CONFIG.workers


class ToyHost:
    """Stands in for `Worker` under `Scenes`: every decision ends its scenes' episodes, seed 43 kills one process."""

    deaths = 1

    def __init__(self, _: Any, config: RolloutConfig, worker: int, finished: set[int]) -> None:
        numbers = itertools.count(config.first_seed + worker, config.workers)
        self._seeds = (seed for seed in numbers if seed not in finished)
        self._now: list[int] = []
        self._asked: Any = None

    def ask(self, request: Any) -> None:
        self._asked = request

    def answer(self, timeout: float) -> Any:
        before, self._now = self._now, [next(self._seeds), next(self._seeds)]
        if 43 in before and ToyHost.deaths:
            ToyHost.deaths -= 1
            raise WorkerLost("was killed by SIGKILL")
        if self._asked is None:
            before = []
        else:
            assert self._asked.shape == (2, 1, 16)
        return {"seed": np.array(self._now)[:, None]}, {seed: seed % 3 == 0 for seed in before}

    def close(self) -> None:
        pass


def test_evaluation_goes_on_when_a_process_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "Worker", ToyHost)
    monkeypatch.setattr(ToyHost, "deaths", 1)
    scenes = rollout.Scenes(CONFIG)
    assert scenes.reset()["seed"].flatten().tolist() == [40, 42, 41, 43]
    chunks = torch.zeros(4, 1, 16)
    with pytest.warns(UserWarning, match="a simulator process was killed by SIGKILL; another one goes on"):
        observations, ended = scenes.step(chunks)
    assert observations["seed"].flatten().tolist() == [44, 46, 41, 43] and list(ended) == [40, 42]
    assert scenes.step(chunks)[1] == {44: False, 46: False, 41: False, 43: False}
    ToyHost.deaths = 9
    scenes = rollout.Scenes(replace(CONFIG, first_seed=43, workers=1))
    scenes.reset()
    with pytest.warns(UserWarning), pytest.raises(UserError, match="the third in a row without a finished episode"):
        for _ in range(3):
            scenes.step(chunks[:2])


# -- processes, without a simulator -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("die", "was killed by SIGKILL"),
        ("leave", "ended with exit code 3"),
        ("stop", "did not answer within 0 s"),
        ("tear", "did not answer within 0 s"),
        ("raise", "failed: FloatingPointError: the simulator observed qpos as NaN"),
    ],
)
def test_a_worker_is_lost(fault: str, how: str) -> None:
    worker = Worker(faulty_worker.answer)
    worker.ask("hello")
    assert worker.answer(60.0) == "hello"
    worker.ask(fault)
    with pytest.raises(WorkerLost, match=how):
        worker.answer(0.4 if how.startswith("did not") else 60.0)
    worker.close()


def test_what_a_worker_wants_mended_is_for_the_user() -> None:
    worker = Worker(faulty_worker.answer)
    worker.ask("refuse")
    with pytest.raises(UserError, match="install RoboTwin's assets"):
        worker.answer(60.0)


@pytest.mark.parametrize("faults", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_lost_workers_leave_nothing_behind(faults: int) -> None:
    """Neither processes, nor descriptors, nor threads."""
    here = psutil.Process()
    Worker(faulty_worker.answer).close()  # multiprocessing's resource tracker starts with the first

    def held() -> tuple[int, int, int]:
        return len(here.children(recursive=True)), here.num_fds(), threading.active_count()

    before = held()
    for number in range(faults):
        worker = Worker(faulty_worker.answer)
        worker.ask(np.zeros(1000))
        assert len(worker.answer(60.0)) == 1000
        worker.ask(("die", "stop", "raise")[number % 3])
        with pytest.raises(WorkerLost):
            worker.answer(0.3)
    assert held() == before


MAIN = """
import os, time
from aim_rl.rollout.worker import Worker
from tests.aim_rl import faulty_worker
worker = Worker(faulty_worker.answer)
worker.ask(0)
worker.answer(60.0)
worker.ask("tear")
print(worker._process.pid, flush=True)
time.sleep(1000)
"""


def test_a_busy_worker_ends_with_the_main_process() -> None:
    main = subprocess.Popen([sys.executable, "-c", MAIN], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert main.stdout is not None
    worker = psutil.Process(int(main.stdout.readline()))
    main.kill()
    main.wait()
    psutil.wait_procs([worker], 30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_simulation_gone_wrong_is_noticed_where_it_happens() -> None:
    class Broken(gym.Env[Any, Any]):
        observation_space: Any = gym.spaces.Dict({"qpos": gym.spaces.Box(-1, 1, (14,), np.float32)})
        action_space = gym.spaces.Box(-1, 1, (14,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return {"qpos": np.zeros(14, np.float32)}, {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return {"qpos": np.full(14, np.inf, np.float32)}, 0.0, False, False, {}

    env: Any = FiniteObservations(Broken())
    env.reset()
    with pytest.raises(FloatingPointError, match="qpos as NaN or infinity"):
        env.step(np.zeros(14))


# -- with one -----------------------------------------------------------------------------------------------------


def test_real_processes_share_weights_and_survive_a_kill(tiny_model: AIM) -> None:
    policy = AimPolicy(tiny_model, CONFIG.execute, "initial_noise", 0.5)
    pool = Simulators(replace(CONFIG, workers=1), policy, 0)
    try:
        stream = iter(pool)
        first = next(stream) + next(stream)
        assert seeds_of(first)[:2] == [40, 40]
        for each in first:
            assert each["decision"][:, 0].tolist() == list(range(len(each)))
        assert not torch.equal(first[0]["sample"][0], first[1]["sample"][0])
        policy.version += 1  # in place, as the optimizer does
        with torch.no_grad():
            next(policy.trained_parameters()).add_(0.1)
        more = next(stream)
        assert more[-1]["version"].flatten().tolist()[-1] == 1
        stale = policy.get_dist(more[-1]).log_prob(more[-1]["sample"])
        torch.testing.assert_close(stale[-1], more[-1]["sample_log_prob"][-1], atol=1e-3, rtol=1e-3)
        (process,) = (child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline()))
        expected = max(seeds_of(first + more)) + 1
        process.kill()
        with pytest.warns(UserWarning, match="was killed by SIGKILL"):
            assert next(stream) == [] and pool.restarts == 1
        again = next(stream) + next(stream)
        assert seeds_of(again)[:2] == [expected] * 2
    finally:
        pool.shutdown()


def test_other_processes_go_on_where_the_first_were(tiny_model: AIM) -> None:
    """Amid episodes, groups and noise, bit for bit."""
    config = replace(CONFIG, workers=1, step_limit=48)
    policy = AimPolicy(tiny_model, CONFIG.execute, "initial_noise", 0.5)
    pools = Simulators(config, policy, 0), Simulators(config, policy, 1)
    try:
        stream = iter(pools[0])
        early = [next(stream) for _ in range(2)]
        state = pools[0].state_dict()
        (crew,) = state["crews"]
        assert len(crew["snapshot"]["begun"][0][1]) > 0
        late = [next(stream) for _ in range(3)]
        pools[1].load_state_dict(state)
        stream = iter(pools[1])
        again = [next(stream) for _ in range(3)]
        assert sum(map(len, late)) > 2
        for one, other in zip(late, again, strict=True):
            assert [len(rollout) for rollout in one] == [len(rollout) for rollout in other]
            for a, b in zip(one, other, strict=True):
                for key, tensor in a.items(True, True):
                    assert torch.equal(tensor, b[key]), key
        assert early
    finally:
        for pool in pools:
            pool.shutdown()
    with pytest.raises(ValueError, match="2 scenes per process, not 3"):
        Simulators(replace(config, envs_per_worker=3), policy, 0).load_state_dict(state)


class InThisProcess:
    """Stands in for `Worker`: a thread, where a GPU can be pretended."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self._channel, theirs = mp.Pipe()

        def work() -> None:
            with PretendedGpu(), theirs, contextlib.suppress(EOFError):
                target(theirs, *args)

        threading.Thread(target=work, daemon=True).start()

    def ask(self, request: str) -> None:
        self._channel.send(request)

    def answer(self, timeout: float) -> Any:
        return self._channel.recv()[1]

    def close(self) -> None:
        self._channel.close()


def test_rollouts_of_a_policy_on_a_gpu_come_on_the_cpu_and_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended, with a history: what the policy on the CPU would have done, also behind a snapshot."""
    monkeypatch.setattr(simulators, "Worker", InThisProcess)
    torch.manual_seed(0)
    model, config = AIM(replace(TINY, history=2)), replace(CONFIG, workers=1, step_limit=48)
    found: dict[str, list[TensorDictBase]] = {}
    with one_thread(), PretendedGpu():
        for device in ("cpu", "cuda:0"):
            policy = AimPolicy(model.eval().to(device), CONFIG.execute, "initial_noise", 0.5)
            pools = [Simulators(config, policy, seed) for seed in (0, 1)]
            stream = iter(pools[0])
            found[device] = [rollout for _ in range(2) for rollout in next(stream)]
            pools[1].load_state_dict(pools[0].state_dict())
            pools[0].shutdown()
            stream = iter(pools[1])
            found[device] += [rollout for _ in range(2) for rollout in next(stream)]
            pools[1].shutdown()
        assert len(found["cpu"]) > 2
        for expected, rollout in zip(*found.values(), strict=True):
            for key, tensor in rollout.items(True, True):
                assert tensor.device.type == "cpu" and torch.equal(tensor, expected[key]), key


def test_a_replaced_process_explores_anew(tiny_model: AIM) -> None:
    """The seed that it begins again is not explored once more by the noise of the process that was lost."""
    policy = AimPolicy(tiny_model, CONFIG.execute, "flow_sde", 0.5)
    noise = []
    for lost in (0, 1):
        process = InThisProcess(
            simulators._simulate, replace(CONFIG, envs_per_worker=1), policy, 0, (), 7, lost, 40, set(), None
        )
        rollouts: list[TensorDictBase] = []
        while not rollouts:
            process.ask("go on")
            rollouts = unpack(process.answer(0.0)[1])
        process.close()
        noise.append(rollouts[0]["chain"][0, 0])
    assert not torch.equal(*noise)


@dataclass(frozen=True)
class GoesWrong(Backend):
    """The tabletop, whose joints once read NaN each time a file appears."""

    sign: Path = Path()

    def make(self, *args: Any, **kwargs: Any) -> Any:
        env: Any = super().make(*args, **kwargs)
        observe = env.observe

        def maybe_wrong() -> Any:
            observation = observe()
            if self.sign.exists():
                self.sign.unlink(missing_ok=True)
                observation["qpos_measured"] = np.full(14, np.nan, np.float32)
            return observation

        env.observe = maybe_wrong
        return env


@pytest.mark.slow
@pytest.mark.parametrize("faults", [6, 100])
def test_faults_in_one_run_cost_groups_and_nothing_else(
    faults: int, tiny_model: AIM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A third each: killed, stopped, NaN. Every group that comes is whole and comes once; no seed is left out."""
    monkeypatch.setattr(simulators, "MIN_TIMEOUT", 10.0)
    monkeypatch.setattr(simulators, "TIMES_SLOWEST", 5)
    here, sign = psutil.Process(), tmp_path / "sign"
    policy = AimPolicy(tiny_model, CONFIG.execute, "initial_noise", 0.5)
    pool = Simulators(replace(CONFIG, simulator=GoesWrong(sign=sign)), policy, 0)

    def held() -> tuple[int, int, int]:
        return len(here.children(recursive=True)), here.num_fds(), threading.active_count()

    def simulating() -> list[psutil.Process]:
        return [child for child in here.children() if "spawn_main" in " ".join(child.cmdline())]

    seen: Counter[int] = Counter()
    try:
        stream = iter(pool)
        before: tuple[int, int, int] | None = None
        memory: list[int] = []
        for fault in range(faults):
            finished: set[int] = set()
            while len(finished) < CONFIG.workers:  # each process has finished something
                seeds = seeds_of(next(stream))
                finished |= {seed % CONFIG.workers for seed in seeds}
                seen.update(seeds)
            before, done = before or held(), pool.restarts
            match fault % 3:
                case 0:
                    simulating()[fault % 2].kill()
                case 1:
                    simulating()[fault % 2].suspend()
                case 2:
                    sign.touch()
            while pool.restarts == done:
                seen.update(seeds_of(next(stream)))
            memory.append(here.memory_info().rss)
        assert pool.restarts >= faults  # more where a busy machine lets a process look hung
        assert held() == before
        # What is first used late, and no more than that: a batch or a process kept would be megabytes per fault.
        assert memory[-1] - memory[len(memory) // 5] < 30 * 2**20
        assert set(seen.values()) == {CONFIG.group_size}
        missing = set(range(CONFIG.first_seed, max(seen))) - set(seen)
        given_up = sum("without seed" in str(warning.message) for warning in recwarn)
        assert len(missing) <= given_up + 2 * CONFIG.workers * CONFIG.envs_per_worker  # the others are under way
    finally:
        pool.shutdown()
    assert not simulating()

"""Training rollouts whose processes die, hang or simulate nonsense: they are replaced and counted."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
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
from aim_rl.rollout import training
from aim_rl.rollout.environments import RolloutConfig
from aim_rl.rollout.pool import ANSWER_TIMEOUT
from aim_rl.rollout.training import TrainingRollouts, WorkerStart
from aim_rl.rollout.transfer import unpack
from aim_rl.rollout.worker import WorkerLost
from aim_rl.runs.folder import one_thread
from envs.backend import Backend
from envs.errors import UserError
from envs.wrappers import FiniteObservations

from ..pretend_gpu import PretendedGpu
from .fake_transport import FakeTransport, StoppedMeansHung, Threads

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


class Nobody:
    def share_memory(self) -> None:
        pass


class Toy:
    """A worker of which each round ends one group.

    Args:
        start: what it starts from.
        dies, dies_once: seeds at which every process dies, or the first one.
        seconds: that a round takes, as it says.
    """

    def __init__(self, start: WorkerStart, dies: Any = (), dies_once: Any = (), seconds: float = 0.01) -> None:
        self._start, self._dies, self._dies_once, self._seconds = start, dies, dies_once, seconds
        numbers = itertools.count(start.first_seed, start.config.workers)
        self._seeds = (seed for seed in numbers if seed not in start.finished)

    def ask(self, request: str) -> None:
        self._asked = request

    def answer(self, timeout: float) -> Any:
        first = not self._start.losses
        if self._asked == "snapshot":
            if first:
                raise WorkerLost("was killed by SIGKILL")
            return self._seconds, {"prefixes": [None] * CONFIG.envs_per_worker}
        seed = next(self._seeds)
        if seed in self._dies or (seed in self._dies_once and first):
            raise WorkerLost("was killed by SIGKILL")
        return self._seconds, {"lengths": [1, 1], "decisions": {"seed": np.full((2, 1), seed)}}

    def close(self) -> None:
        pass


def toys(make: Any = Toy) -> TrainingRollouts:
    return TrainingRollouts(CONFIG, cast(Any, Nobody()), 0, transport=FakeTransport(make))


def rounds(count: int, **faults: Any) -> tuple[list[int], int]:
    """The seeds that `count` rounds of two processes deliver, and how many processes were replaced."""
    rollouts = toys(lambda start: Toy(start, **faults))
    delivered = [seed for some in itertools.islice(rollouts, count) for seed in seeds_of(some)]
    assert delivered[::2] == delivered[1::2]
    return delivered[::2], rollouts.restarts


def test_a_lost_process_is_replaced_at_its_seed() -> None:
    with pytest.warns(
        UserWarning, match=r"a simulator process was killed by SIGKILL; another one continues at seed 42$"
    ):
        assert rounds(4, dies_once=[42]) == ([40, 41, 43, 42, 45, 44, 47], 1)  # none is missing


def test_a_seed_that_kills_is_given_up() -> None:
    with pytest.warns(UserWarning) as warned:
        assert rounds(5, dies=[42]) == ([40, 41, 43, 45, 44, 47, 46, 49], 2)
    assert str(warned[1].message).endswith("continues at seed 44, without seed 42, which broke two in a row")


@pytest.mark.filterwarnings("ignore:a simulator process")
def test_a_machine_that_kills_everything_ends_the_run() -> None:
    with pytest.raises(
        UserError, match=r"was killed by SIGKILL, the third in a row.*fewer --rollout.envs-per-worker or --workers"
    ):
        rounds(9, dies=range(40, 60))


def test_a_hang_makes_nobody_wait_longer_for_the_others() -> None:
    """Answers are taken one after another; what one process hangs is no round of the next one's."""
    waited: list[float] = []

    class Hangs(Toy):
        def __init__(self, start: WorkerStart) -> None:
            super().__init__(start, seconds=100.0)

        def answer(self, timeout: float) -> Any:
            if self._start.worker:
                waited.append(timeout)
            elif not self._start.losses:
                raise WorkerLost("did not answer")
            return super().answer(timeout)

    with pytest.warns(UserWarning, match="did not answer"):
        list(itertools.islice(toys(Hangs), 3))
    assert waited == [ANSWER_TIMEOUT, pytest.approx(1000 / 3), pytest.approx(1000)]  # rounds of 100 s


def test_short_rounds_may_take_a_minute() -> None:
    waited: list[float] = []

    class Notes(Toy):
        def answer(self, timeout: float) -> Any:
            waited.append(timeout)
            return super().answer(timeout)

    list(itertools.islice(toys(Notes), 2))
    assert waited[-1] == 60.0


@pytest.mark.filterwarnings("ignore:a simulator process")
def test_processes_that_are_lost_while_the_state_is_saved_count() -> None:
    """In the run that saved it, and in the one that goes on with it."""
    first, second = toys(), toys()
    next(iter(first))
    state = first.state_dict()
    assert first.restarts == CONFIG.workers
    second.load_state_dict(state)
    next(iter(second))
    assert second.restarts == CONFIG.workers


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
    pool = TrainingRollouts(replace(CONFIG, workers=1), policy, 0)
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
        assert more[-1]["version"][-1].item() == 1
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


NAMES_OF_0_1 = {
    "slots": "crews",
    "next_seed": "oldest",
    "finished": "through",
    "lost_at": "broken_at",
    "losses": "lost",
    "losses_in_a_row": "fruitless",
    "prefixes": "begun",
    "environments": "scenes",
    "in_progress": "under_way",
    "commanded_tcp": "landing",
}


def with_names_of_0_1(state: Any) -> Any:
    if isinstance(state, dict):
        return {NAMES_OF_0_1.get(key, key): with_names_of_0_1(value) for key, value in state.items()}
    return [with_names_of_0_1(value) for value in state] if isinstance(state, list) else state


def test_other_processes_go_on_where_the_first_were(tiny_model: AIM) -> None:
    """In the middle of episodes, groups and noise, bit for bit; also from a state of version 0.1."""
    config = replace(CONFIG, workers=1, step_limit=48)
    policy = AimPolicy(tiny_model, CONFIG.execute, "initial_noise", 0.5)
    pools = TrainingRollouts(config, policy, 0), TrainingRollouts(config, policy, 1)
    try:
        stream = iter(pools[0])
        early = [next(stream) for _ in range(2)]
        state = pools[0].state_dict()
        (slot,) = state["slots"]
        assert len(slot["snapshot"]["prefixes"][0][1]) > 0
        late = [next(stream) for _ in range(3)]
        pools[1].load_state_dict(with_names_of_0_1(state))
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
    with pytest.raises(ValueError, match="2 environments per process, not 3"):
        TrainingRollouts(replace(config, envs_per_worker=3), policy, 0).load_state_dict(state)


def test_rollouts_of_a_policy_on_a_gpu_come_on_the_cpu_and_go_on() -> None:
    """Pretended, with a history: what the policy on the CPU would have done, also behind a snapshot."""
    torch.manual_seed(0)
    model, config = AIM(replace(TINY, history=2)), replace(CONFIG, workers=1, step_limit=48)
    found: dict[str, list[TensorDictBase]] = {}
    with one_thread(), PretendedGpu():
        for device in ("cpu", "cuda:0"):
            policy = AimPolicy(model.eval().to(device), CONFIG.execute, "initial_noise", 0.5)
            pools = [TrainingRollouts(config, policy, seed, transport=Threads()) for seed in (0, 1)]
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


def test_a_replaced_process_explores_otherwise(tiny_model: AIM) -> None:
    """The noise of the lost process does not come again at the seed that is rolled out again."""
    policy = AimPolicy(tiny_model, CONFIG.execute, "flow_sde", 0.5)
    noise = []
    for lost in (0, 1):
        start = WorkerStart(
            config=replace(CONFIG, envs_per_worker=1),
            policy=policy,
            worker=0,
            extra_keys=(),
            noise_seed=7,
            losses=lost,
            first_seed=40,
            finished=set(),
            snapshot=None,
        )
        process = Threads().start(training._roll_out, start)
        rollouts: list[TensorDictBase] = []
        while not rollouts:
            process.ask("roll out")
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
    faults: int, tiny_model: AIM, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """A third each: killed, stopped, NaN. Every group that comes is whole and comes once; no seed is left out."""
    here, sign = psutil.Process(), tmp_path / "sign"
    policy = AimPolicy(tiny_model, CONFIG.execute, "initial_noise", 0.5)
    pool = TrainingRollouts(replace(CONFIG, simulator=GoesWrong(sign=sign)), policy, 0, transport=StoppedMeansHung())

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
        assert pool.restarts == faults
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

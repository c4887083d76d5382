"""Stage II's loop on made-up rollouts, without a simulator: what reaches the run's log and weights, and resuming."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensordict import TensorDict, TensorDictBase

from aim_rl import finetune
from aim_rl.finetune import FinetuneConfig, reinforce
from aim_rl.model import AIM, PRESETS
from aim_rl.rl import critic
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import PpoConfig
from aim_rl.runs.folder import new_run, one_thread
from envs.errors import UserError

from ..pretend_gpu import CUDA, PretendedGpu

TINY, DECISIONS = PRESETS["tiny"], 3


class MadeUp:
    """Two rollouts of one seed at a time, of which the first succeeds with its last control step; then a fault."""

    def __init__(
        self,
        policy: AimPolicy,
        observations: Callable[..., TensorDict],
        happens: Callable[[int], object] = lambda number: None,
    ) -> None:
        self._policy, self._observations, self._happens = policy, observations, happens
        self._seed = 0

    def __iter__(self) -> Iterator[list[TensorDictBase]]:
        while True:
            self._seed += 1
            self._happens(self._seed)
            yield list(self._batch(self._seed).unbind(0))

    @property
    def restarts(self) -> int:
        return max(0, self._seed - 1)  # one before each but the first

    def state_dict(self) -> dict[str, int]:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._seed = state["seed"]

    def _batch(self, seed: int) -> TensorDictBase:
        batch = self._policy(self._observations(2, DECISIONS))
        flags = torch.zeros(2, DECISIONS, TINY.execute, dtype=torch.bool)
        success = flags.clone()
        success[0, -1, -1] = True
        number = torch.full((2, DECISIONS, 1), seed)
        height, width = TINY.head_size
        intrinsic = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        extrinsic = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3.0]])
        batch["seed"], batch["decision"] = number, torch.arange(DECISIONS)[None, :, None].expand(2, -1, 1).clone()
        batch["head_camera_intrinsic"] = intrinsic.expand(2, DECISIONS, 3, 3).clone()
        batch["head_camera_extrinsic"] = extrinsic.expand(2, DECISIONS, 3, 4).clone()
        batch["progress"] = torch.rand(2, DECISIONS, TINY.execute)
        batch["next", "progress"] = torch.rand(2, DECISIONS, TINY.execute)
        batch["next", "step_success"], batch["next", "executed"] = success, ~flags
        batch["next", "terminated"], batch["next", "restarts"] = success.any(-1, keepdim=True), 0 * number
        return batch

    def shutdown(self) -> None:
        pass


def test_the_ablation_and_the_controls_run_through_the_loop(
    tmp_path: Path, tiny_model: AIM, observations: Callable[..., TensorDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "Simulators", lambda _, policy, *__: MadeUp(policy, observations))
    world = tiny_model.m.embedding.weight.detach().clone()
    head = tiny_model.action.stream.head.weight.detach().clone()
    config = FinetuneConfig(
        "click_bell",
        iterations=2,
        num_groups=2,
        sampler="flow_noise",
        shaping="additive",
        maps="other_scene",
        anneal=True,
        train_world=True,
        lambda_dense=1.0,
        rl=PpoConfig(advantage="group", learning_rate=1e-3),
    )
    totals = reinforce(config, "click_bell", tiny_model, tmp_path)
    assert totals["environment_steps"] == 2 * 4 * DECISIONS * TINY.execute
    assert not torch.equal(tiny_model.m.embedding.weight, world)
    assert not torch.equal(tiny_model.action.stream.head.weight, head)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    def logged(name: str) -> list[float]:
        return [event.value for event in events.Scalars(f"stage2/{name}")]

    assert logged("noise_level") == pytest.approx([0.16, 0.16])  # the bound that flow_noise's papers give
    assert logged("watch/alarm") == [0, 0] and len(logged("watch/hovering")) == 2
    assert logged("simulator_restarts") == [1, 2]  # between two batches, not since the beginning
    first, second = zip(logged("return"), logged("return_dense"), logged("return_sparse"), strict=True)
    assert first[0] == pytest.approx(first[1] + first[2], abs=1e-4)
    assert second[0] == pytest.approx(0.5 * second[1] + second[2], abs=1e-4)  # half way, half the weight


class Restarted(MadeUp):
    """First every rollout loses a process amid its last decision; then one of each batch ends before that decision."""

    @property
    def restarts(self) -> int:
        return 0  # between episodes

    def __iter__(self) -> Iterator[list[TensorDictBase]]:
        for number, (first, second) in enumerate(super().__iter__()):
            for rollout in (first, second):
                rollout["next", "restarts"][-1] = int(number < 2)
            yield [first if number < 2 else first[:-1], second]


def test_a_lost_process_is_counted_once(
    tmp_path: Path, tiny_model: AIM, observations: Callable[..., TensorDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "Simulators", lambda _, policy, *__: Restarted(policy, observations))
    reinforce(
        FinetuneConfig("click_bell", iterations=2, num_groups=2, group_size=2), "click_bell", tiny_model, tmp_path
    )
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("stage2/simulator_restarts")] == [4, 0]


def test_a_critic_that_sees_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = SimpleNamespace(preset=replace(TINY, keypoints=0))
    monkeypatch.setattr(finetune, "stage1_model", lambda *_: blind)
    monkeypatch.setattr(finetune, "measure_stage1", lambda *_: pytest.fail("begun"))
    with pytest.raises(UserError, match=r"--grpo\.advantage group --group-size 8 --num-groups 8"):
        finetune.finetune(FinetuneConfig("click_bell"), "click_bell", tmp_path)


Train = Callable[..., tuple[AIM, dict[str, Any]]]


@pytest.fixture
def train(tiny_model: AIM, observations: Callable[..., TensorDict], monkeypatch: pytest.MonkeyPatch) -> Iterator[Train]:
    """`train(run, resume, happens, device)`: seven iterations, a state every second; the model and the totals.

    `happens(number)` is called before each iteration's rollouts.
    """
    monkeypatch.setattr(finetune, "SAVE_EVERY", 2)
    monkeypatch.setattr(critic, "STEPS", 5)

    def run(
        run: Path, resume: bool = False, happens: Callable[[int], object] = lambda _: None, device: Any = "cpu"
    ) -> Any:
        monkeypatch.setattr(finetune, "Simulators", lambda _, policy, *__: MadeUp(policy, observations, happens))
        config = FinetuneConfig("click_bell", resume=run if resume else None, iterations=7, num_groups=1)
        model = copy.deepcopy(tiny_model).to(device)
        return model, reinforce(config, "click_bell", model, run)

    with one_thread():
        yield run


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    names = [name for name in events.Tags()["scalars"] if "/speed/" not in name]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def kill() -> None:
    raise SystemExit("killed")


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("what", "at", "ends"),
    [(kill, 2, "killed"), (kill, 6, "killed"), (press_ctrl_c, 5, "stopped after 5 iterations; go on with --resume")],
)
def test_stage2_resumed_equals_stage2_in_one_go(
    tmp_path: Path, train: Train, what: Callable[[], None], at: int, ends: str
) -> None:
    whole, totals = train(tmp_path / "whole")
    with pytest.raises((SystemExit, KeyboardInterrupt), match=ends):
        train(tmp_path / "stopped", happens=lambda number: number == at and what())
    torch.manual_seed(123)  # another process would have drawn other numbers
    time.sleep(1)  # event files are read in the order of the seconds in their names
    resumed, resumed_totals = train(tmp_path / "stopped", resume=True)
    for (name, tensor), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert {**totals, "minutes": 0} == {**resumed_totals, "minutes": 0}
    assert curves(tmp_path / "whole") == curves(tmp_path / "stopped")
    assert len(curves(tmp_path / "whole")["stage2/success"]) == 7
    for name in ("checkpoint", "best"):
        metadata = [json.loads((tmp_path / run / name / "config.json").read_text()) for run in ("whole", "stopped")]
        assert [{**metadata, "minutes": 0} for metadata in metadata] == [{**metadata[0], "minutes": 0}] * 2


def test_a_run_that_lost_its_result_is_measured_and_not_trained_again(tmp_path: Path, train: Train) -> None:
    whole, totals = train(tmp_path)
    shutil.rmtree(tmp_path / "trainer")  # as `main` does at the end
    begun = FinetuneConfig("click_bell", resume=tmp_path, iterations=7, num_groups=1)
    other = AIM(TINY)
    assert finetune.trained_before(begun, "click_bell", other, tmp_path) == totals
    for (name, tensor), found in zip(whole.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(tensor, found), name
    assert finetune.trained_before(replace(begun, resume=None), "click_bell", other, tmp_path) is None
    metadata = tmp_path / "checkpoint" / "config.json"
    metadata.write_text(
        json.dumps({key: value for key, value in json.loads(metadata.read_text()).items() if key != "minutes"})
    )
    assert finetune.trained_before(begun, "click_bell", other, tmp_path) is None  # killed before its first state


def test_iterations_and_groups_of_a_run_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-way a mean over the second half of fewer iterations would be Stage I."""
    run = tmp_path / "run"
    new_run("click_bell", run, FinetuneConfig("click_bell", iterations=80))
    for flags, named in ([("--iterations", "40"), "80"], [("--group-size", "4"), "2"]):
        monkeypatch.setattr(sys, "argv", ["finetune", "--resume", str(run), *flags])
        with pytest.raises(UserError, match=f"was started with {flags[0]} {named}, which a resumed run cannot change"):
            finetune.main()


def test_stage2_on_a_gpu_takes_the_cpus_steps_and_resumes(tmp_path: Path, train: Train) -> None:
    """Pretended: rollouts and the critic stay on the CPU, decisions go to the model, and seeds mean the same."""
    expected, totals = train(tmp_path / "cpu")
    with PretendedGpu():
        with pytest.raises(SystemExit):
            train(tmp_path / "gpu", happens=lambda number: number == 6 and kill(), device=CUDA)
        torch.manual_seed(123)
        model, found = train(tmp_path / "gpu", resume=True, device=CUDA)
        assert {parameter.device for parameter in model.parameters()} == {CUDA}
    for name, tensor in model.cpu().state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], atol=1e-6, rtol=1e-5)
    assert {**totals, "minutes": 0} == {**found, "minutes": 0}


def test_updates_that_are_not_finite_end_the_run_at_its_last_good_state(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = finetune.Ppo.update

    def poisoned(learner: Any, rollouts: TensorDictBase) -> dict[str, float]:
        if learner.policy.version >= 2:
            rollouts["sample_log_prob"][:] = torch.nan
        return update(learner, rollouts)

    monkeypatch.setattr(finetune.Ppo, "update", poisoned)
    with pytest.raises(UserError, match=r"3 times in a row; go on from .*step-0+2, the last good state, by --resume"):
        train(tmp_path)
    monkeypatch.setattr(finetune.Ppo, "update", update)
    _, totals = train(tmp_path, resume=True)  # from the second iteration
    assert (totals["iterations"], totals["skipped_updates"]) == (7, 0)

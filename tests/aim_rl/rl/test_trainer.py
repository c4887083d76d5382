"""Stage II's loop on made-up rollouts, without a simulator: what reaches the run's log and weights, and resuming."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from tensordict import TensorDict, TensorDictBase

from aim_rl import finetune
from aim_rl.finetune import reinforce
from aim_rl.model import AIM, PRESETS
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.rl.config import FinetuneConfig, RewardOptions, RolloutOptions, parse_flags
from aim_rl.rl.exploration import ExplorationConfig
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.ppo import Ppo, PpoConfig
from aim_rl.rl.trainer import Schedule, Trainer
from aim_rl.rollout.kept_rollouts import RolloutNotes
from aim_rl.runs.dashboard import STAGE2, log_held_out
from aim_rl.runs.folder import new_run, one_thread
from aim_rl.runs.state import last_step
from aim_rl.runs.statistics import success_rate
from envs.errors import UserError
from rewards import RewardConfig
from rewards.torchrl_transform import ValueMapRewardTransform

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
    tmp_path: Path, tiny_model: AIM, observations: Callable[..., TensorDict]
) -> None:
    world = tiny_model.m.embedding.weight.detach().clone()
    head = tiny_model.action.stream.head.weight.detach().clone()
    config = FinetuneConfig(
        task="click_bell",
        iterations=2,
        train_world=True,
        validation_episodes=0,
        rollout=RolloutOptions(num_groups=2),
        exploration=ExplorationConfig(sampler="flow_noise"),
        reward=RewardOptions(shaping="additive", maps="other_scene", anneal=True, lambda_dense=1.0),
        rl=PpoConfig(advantage="group", learning_rate=1e-3),
    )
    totals = reinforce(config, tiny_model, tmp_path, lambda _, policy, __: MadeUp(policy, observations))
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
    """First every rollout loses a process during its last decision; then one of each pair ends before that decision."""

    @property
    def restarts(self) -> int:
        return 0  # between episodes

    def __iter__(self) -> Iterator[list[TensorDictBase]]:
        for number, (first, second) in enumerate(super().__iter__()):
            for rollout in (first, second):
                rollout["next", "restarts"][-1] = int(number < 2)
            yield [first if number < 2 else first[:-1], second]


def test_a_lost_process_is_counted_once(
    tmp_path: Path, tiny_model: AIM, observations: Callable[..., TensorDict]
) -> None:
    config = FinetuneConfig(
        task="click_bell", iterations=2, validation_episodes=0, rollout=RolloutOptions(num_groups=2)
    )
    reinforce(config, tiny_model, tmp_path, lambda _, policy, __: Restarted(policy, observations))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("stage2/simulator_restarts")] == [4, 0]


def test_a_critic_that_sees_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"--rl\.advantage group --rollout\.group-size 8 --rollout\.num-groups 8"):
        FinetuneConfig(task="click_bell").check_preset(replace(TINY, keypoints=0))


SEVEN = FinetuneConfig(
    task="click_bell",
    iterations=7,
    save_every=2,
    validate_every=2,
    rollout=RolloutOptions(num_groups=1),
    rl=PpoConfig(critic_steps=5),
)
Train = Callable[..., tuple[AIM, dict[str, Any]]]


def outcome(_: FinetuneConfig, model: AIM) -> dict[int, bool]:
    """Success on twelve scenes that follows from the weights."""
    return {scene: bool(number > 0) for scene, number in enumerate(model.action.stream.head.bias[:12])}


@pytest.fixture
def train(tiny_model: AIM, observations: Callable[..., TensorDict]) -> Iterator[Train]:
    """`train(run, resume, happens, device, source, groups, measured)`: seven iterations, a state every second.

    `happens(number)` is called before each round of rollouts; an iteration has `groups` of them. Returns the model and
    the totals.
    """

    def run(
        run: Path,
        resume: bool = False,
        happens: Callable[[int], object] = lambda _: None,
        device: Any = "cpu",
        source: type[MadeUp] = MadeUp,
        groups: int = 1,
        measured: Any = outcome,
    ) -> Any:
        config = replace(SEVEN, resume=run if resume else None, rollout=RolloutOptions(num_groups=groups))
        model = copy.deepcopy(tiny_model).to(device)
        return model, reinforce(
            config, model, run, lambda _, policy, __: source(policy, observations, happens), measured
        )

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
    [(kill, 2, "killed"), (kill, 6, "killed"), (press_ctrl_c, 5, "stopped after 4 iterations; go on with --resume")],
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
    assert [step for step, _ in curves(tmp_path / "whole")["stage2/validation/success"]] == [0, 96, 192, 288]
    for name in ("checkpoint", "best"):
        metadata = [json.loads((tmp_path / run / name / "config.json").read_text()) for run in ("whole", "stopped")]
        assert [{**metadata, "minutes": 0} for metadata in metadata] == [{**metadata[0], "minutes": 0}] * 2


def test_a_resumed_run_notes_each_rollout_once(
    tmp_path: Path, tiny_model: AIM, observations: Callable[..., TensorDict]
) -> None:
    """What another run, stopped before its first state, has noted in the same folder is not this one's."""

    def run(run: Path, resume: bool = False, at: int = 0) -> dict[int, bytes]:
        config = replace(SEVEN, keep_rollouts=5, validation_episodes=0, resume=run if resume else None)
        happens: Callable[[int], object] = lambda number: number == at and kill()  # noqa: E731
        reinforce(config, copy.deepcopy(tiny_model), run, lambda _, policy, __: MadeUp(policy, observations, happens))
        noted = {prefix.seed: np.stack(prefix.actions).tobytes() for prefix in RolloutNotes(run).latest(5)}
        assert list(noted) == [3, 4, 5, 6, 7]  # of seeds 1 to 7, each of which the first rollout solves
        return noted

    stale = RolloutNotes(tmp_path / "stopped").folder / "0000099.safetensors"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    with one_thread():
        with pytest.raises(SystemExit):
            run(tmp_path / "stopped", at=6)
        torch.manual_seed(123)
        assert run(tmp_path / "stopped", resume=True) == run(tmp_path / "whole")


def same(tmp_path: Path, whole: tuple[AIM, Any], resumed: tuple[AIM, Any]) -> None:
    """Asserts that a run in `stopped` ends as the one in `whole`, which nobody touched."""
    for (name, tensor), other in zip(whole[0].state_dict().items(), resumed[0].state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert {**whole[1], "minutes": 0} == {**resumed[1], "minutes": 0}
    assert curves(tmp_path / "whole") == curves(tmp_path / "stopped")


@pytest.mark.parametrize(("at", "after"), [(1, 0), (5, 2)])
def test_ctrl_c_waits_for_a_round_of_rollouts_and_not_for_the_iteration(
    tmp_path: Path, train: Train, at: int, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(tmp_path / "whole", groups=2)
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt, match=f"stopped after {after} iterations; go on with --resume"):
        train(tmp_path / "stopped", groups=2, happens=lambda number: number == at and press_ctrl_c())
    said = capsys.readouterr().err
    assert said.startswith("Ctrl-C: finishing this round of rollouts") and said.count("\n") == 1
    assert f"Ctrl-C again stops at once, and what came after iteration {after} is lost." in said
    time.sleep(1)  # event files are read in the order of the seconds in their names
    same(tmp_path, whole, train(tmp_path / "stopped", resume=True, groups=2))


def test_ctrl_c_breaks_a_validation_off_and_resume_repeats_it(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []

    def interrupted(config: FinetuneConfig, model: AIM) -> dict[int, bool]:
        measured.append(len(measured))
        if len(measured) == 3:  # Stage I, after two iterations, after four
            press_ctrl_c()
        return outcome(config, model)

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="stopped after 4 iterations; go on with --resume"):
        train(tmp_path / "stopped", measured=interrupted)
    assert "Ctrl-C: saving." in capsys.readouterr().err
    time.sleep(1)  # event files are read in the order of the seconds in their names
    same(tmp_path, whole, train(tmp_path / "stopped", resume=True, measured=interrupted))
    assert len(measured) == 3 + 3  # after four again, after six, at the end


def test_ctrl_c_twice_loses_what_came_after_the_state_that_it_names(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(tmp_path / "whole")
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", happens=lambda number: number == 6 and (press_ctrl_c(), press_ctrl_c()))
    assert "what came after iteration 4 is lost" in capsys.readouterr().err
    assert last_step(tmp_path / "stopped") == 4
    time.sleep(1)  # event files are read in the order of the seconds in their names
    same(tmp_path, whole, train(tmp_path / "stopped", resume=True))


def test_a_run_shows_itself_in_tensorboard(tmp_path: Path, train: Train) -> None:
    _, totals = train(tmp_path)
    for success in (3, 4):  # measured again after a kill
        log_held_out(tmp_path, {**totals, "stage2": success_rate(success, 5)})
        time.sleep(1)  # event files are read in the order of the seconds in their names
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert [event.value for event in events.Scalars("stage2/held_out/success")] == [pytest.approx(0.8)]
    tags = set(events.Tags()["scalars"])
    for chart in STAGE2:
        assert tags.issuperset((*chart.tags, *(chart.band or ()))), chart.title
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [chart.title for chart in layout.category[0].chart] == [chart.title for chart in STAGE2]
    row = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert parse_session_start_info_plugin_data(row).hparams["rl.critic_steps"].number_value == 5
    words = events.Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| rl.critic_steps | `5` |" in words and "| commit | `" in words
    for tag in ("rollout/success", "rollout/failure"):
        (picture,) = events.Images(tag)  # of the first iteration; the next would be of the eleventh
        assert iio.imread(picture.encoded_image_string, index=None).shape[0] == DECISIONS


def test_a_run_that_lost_its_result_is_measured_and_not_trained_again(tmp_path: Path, train: Train) -> None:
    whole, totals = train(tmp_path)
    shutil.rmtree(tmp_path / "trainer")  # as `main` does at the end
    resumed = replace(SEVEN, resume=tmp_path)
    other = AIM(TINY)
    assert finetune.trained_before(resumed, other, tmp_path) == totals
    for (name, tensor), found in zip(whole.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(tensor, found), name
    assert finetune.trained_before(SEVEN, other, tmp_path) is None
    metadata = tmp_path / "checkpoint" / "config.json"
    metadata.write_text(
        json.dumps({key: value for key, value in json.loads(metadata.read_text()).items() if key != "minutes"})
    )
    assert finetune.trained_before(resumed, other, tmp_path) is None  # killed before its first state


def test_iterations_and_groups_of_a_run_stay(tmp_path: Path) -> None:
    """After half of the iterations, an average over the second half of fewer iterations would be Stage I."""
    run = tmp_path / "run"
    new_run("click_bell", run, FinetuneConfig(task="click_bell", iterations=80))
    for flag, other, own in (("--iterations", "40", "80"), ("--rollout.group-size", "4", "2")):
        with pytest.raises(UserError, match=f"was started with {flag} {own}, which a resumed run cannot change"):
            parse_flags(None, ["--resume", str(run), flag, other])


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


class Poisoned(MadeUp):
    """Likelihoods that are not finite once the weights have seen two updates."""

    def _batch(self, seed: int) -> TensorDictBase:
        batch = super()._batch(seed)
        if self._policy.version >= 2:
            batch["sample_log_prob"][:] = torch.nan
        return batch


def test_updates_that_are_not_finite_end_the_run_at_its_last_good_state(tmp_path: Path, train: Train) -> None:
    with pytest.raises(UserError, match=r"3 times in a row; go on from .*step-0+2, the last good state, by --resume"):
        train(tmp_path, source=Poisoned)
    _, totals = train(tmp_path, resume=True)  # from the second iteration
    assert (totals["iterations"], totals["skipped_updates"]) == (7, 0)


class AllFail(MadeUp):
    """No rollout succeeds."""

    def _batch(self, seed: int) -> TensorDictBase:
        batch = super()._batch(seed)
        for key in ("step_success", "terminated"):
            batch["next", key][:] = False
        return batch


def test_a_run_without_an_update_says_so_and_what_to_try(
    tmp_path: Path,
    tiny_model: AIM,
    observations: Callable[..., TensorDict],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = replace(SEVEN, iterations=2, rl=PpoConfig(advantage="group"))
    before = copy.deepcopy(tiny_model.action.state_dict())
    totals = reinforce(config, tiny_model, tmp_path, lambda _, policy, __: AllFail(policy, observations), outcome)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.action.state_dict().items())
    rate = success_rate(0, 1)
    finetune.report({**totals, "stage1": rate, "stage2": rate})
    said = " ".join(capsys.readouterr().out.split())
    assert "No update was made, so Stage II is Stage I" in said and "--rollout.group-size" in said
    finetune.report({**totals, "stage1": rate, "stage2": rate, "updates": 1})
    assert "No update" not in capsys.readouterr().out


class NotedPpo(Ppo):
    """Remembers the action head after each update."""

    def __init__(self, policy: AimPolicy, config: PpoConfig) -> None:
        super().__init__(policy, config)
        self.heads: list[dict[str, torch.Tensor]] = []

    def update(self, rollouts: TensorDictBase) -> dict[str, float]:
        metrics = super().update(rollouts)
        self.heads.append(copy.deepcopy(self.policy.model.action.state_dict()))
        return metrics


def test_the_result_is_the_mean_of_the_second_half(
    tmp_path: Path, tiny_model: AIM, observations: Callable[..., TensorDict]
) -> None:
    policy = AimPolicy(tiny_model, TINY.execute, "initial_noise")
    learner = NotedPpo(policy, PpoConfig(advantage="group", learning_rate=1e-3))
    reward = ValueMapRewardTransform(RewardConfig(0.2, 1.0), TINY.head_size)
    schedule = Schedule(iterations=4, batch=2, save_every=2)
    rollouts = MadeUp(policy, observations)
    Trainer(schedule, policy, rollouts, reward, learner, None, tmp_path, {"task": "click_bell"}).train()
    kept, _ = load_checkpoint(tmp_path)
    moved = 0.0
    for name, tensor in kept.action.state_dict().items():
        torch.testing.assert_close(tensor, (learner.heads[2][name] + learner.heads[3][name]) / 2)
        moved += (learner.heads[2][name] - learner.heads[3][name]).abs().sum().item()
    assert moved > 0

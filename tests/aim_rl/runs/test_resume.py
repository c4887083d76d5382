"""A run that was stopped goes on as if it had not been: the same weights, the same numbers."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensordict import TensorDict

from aim_rl import pretrain
from aim_rl.data.dataset import DemonstrationSet
from aim_rl.data.files import episode_path, write_episode
from aim_rl.model import AIM, PRESETS
from aim_rl.runs import environment
from aim_rl.runs import interrupt as interrupt_module
from aim_rl.runs.config import load_config, parse
from aim_rl.runs.folder import command_of, new_run, one_thread
from aim_rl.runs.history import record_resume
from aim_rl.runs.interrupt import Interrupt, ctrl_c_finishes_the_step, says_how_to_resume
from aim_rl.runs.processes import ALONE
from aim_rl.runs.state import Counters, FiniteUpdates, RunState
from aim_rl.supervised.batches import micro_batches
from aim_rl.supervised.config import PretrainConfig
from aim_rl.supervised.trainer import Trainer, accumulate_gradients
from envs.errors import OutOfResources, UserError

from ..data.conftest import episode_of

STEPS = 9


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DemonstrationSet:
    folder = tmp_path_factory.mktemp("demonstrations")
    for number in range(3):
        write_episode(episode_path(folder, number), episode_of(seed=number))
    return DemonstrationSet(folder, PRESETS["tiny"])


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    with one_thread():
        yield


def train(run: Path, data: DemonstrationSet, resume: bool = False, steps: int = STEPS, workers: int = 0) -> AIM:
    resumed = run if resume else None
    config = PretrainConfig(
        task="click_bell",
        data=Path("D"),
        out=run,
        resume=resumed,
        steps=steps,
        batch_size=2,
        preset="tiny",
        save_every=4,
        workers=workers,
    )
    run.mkdir(exist_ok=True)
    if resume:
        time.sleep(1)  # event files are read in the order of the seconds in their names
    return Trainer(config, data, run).train()


def curve(run: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars("stage1/loss")]


class StopAt:
    """Stands in for the data: at one batch, something happens to the process."""

    def __init__(self, data: DemonstrationSet, batch: int, what: Any) -> None:
        self._data, self._batch, self._what, self._count = data, batch, what, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def packed(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        if len(indices) == 2:  # a training batch
            self._count += 1
            if self._count == self._batch:
                self._what()
        return self._data.packed(indices, generator)


def kill() -> None:
    raise SystemExit("killed")


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("what", "raises"), [(kill, SystemExit), (press_ctrl_c, KeyboardInterrupt)])
def test_stage1_resumed_equals_stage1_in_one_go(tmp_path: Path, data: DemonstrationSet, what: Any, raises: Any) -> None:
    whole = train(tmp_path / "whole", data)
    stopped: Any = StopAt(data, 7, what)
    with pytest.raises(raises, match=r"killed|stopped after 7 steps; go on with --resume"):
        train(tmp_path / "stopped", stopped)
    if what is press_ctrl_c:  # its weights after 7 steps are in its state alone
        with pytest.raises(UserError, match="has made 7 steps and has no checkpoint of them"):
            train(tmp_path / "stopped", data, resume=True, steps=7)
    torch.manual_seed(123)  # another process would have drawn other numbers
    resumed = train(tmp_path / "stopped", data, resume=True)
    for (name, tensor), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert curve(tmp_path / "stopped") == curve(tmp_path / "whole")
    metadata = [json.loads((tmp_path / run / "checkpoint" / "config.json").read_text()) for run in ("whole", "stopped")]
    assert metadata[0]["held_out"] == metadata[1]["held_out"]


def test_stage1_with_batches_prepared_ahead_is_the_same_also_after_ctrl_c(
    tmp_path: Path, data: DemonstrationSet, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = train(tmp_path / "whole", data)
    stopped: Any = StopAt(data, 7, lambda: (os.kill(os.getpid(), signal.SIGINT), os.kill(os.getppid(), signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt, match=r"stopped after [1-8] steps"):  # the worker is up to two steps ahead
        train(tmp_path / "stopped", stopped, workers=1)
    assert capfd.readouterr().err.count("Ctrl-C: finishing this step") == 1
    resumed = train(tmp_path / "stopped", data, resume=True, workers=1)
    for (name, tensor), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert curve(tmp_path / "stopped") == curve(tmp_path / "whole")


def test_a_worker_that_is_killed_ends_the_run_in_one_sentence(tmp_path: Path, data: DemonstrationSet) -> None:
    killed: Any = StopAt(data, 3, lambda: os.kill(os.getpid(), signal.SIGKILL))
    sentence = r"prepares batches was killed.*go on with --resume"
    with pytest.raises(OutOfResources, match=sentence), says_how_to_resume(tmp_path / "run"):
        train(tmp_path / "run", killed, workers=1)


def test_every_seed_takes_batches_of_its_own(data: DemonstrationSet) -> None:
    model = AIM(PRESETS["tiny"])

    def losses(seed: int, step: int = 0) -> dict[str, float]:
        config = PretrainConfig(task="click_bell", data=Path("D"), batch_size=2, preset="tiny", seed=seed)
        return accumulate_gradients(model, micro_batches(data, config, ALONE, step), config, ALONE)

    seeds = (0, 1, 2, 2**22, 2**23 - 1)
    found = [losses(seed, step)["loss"] for seed in seeds for step in (0, 1)]
    assert len(set(found)) == 2 * len(seeds)
    assert losses(1) == losses(1)


def test_resume_takes_the_runs_configuration_and_flags_still_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed(*arguments: str) -> PretrainConfig:
        monkeypatch.setattr(sys, "argv", ["pretrain", *arguments])
        return parse(PretrainConfig, None)

    run = tmp_path / "run"
    new_run("t", run, parsed("--task", "click_bell", "--data", "d", "--ema", "0.25"))
    resumed = parsed(f"--resume={run}", "--task", "stack_blocks")
    assert resumed == PretrainConfig(task="stack_blocks_two", data=Path("d"), resume=run, ema=0.25)
    (run / "config.json").write_text('{"command": [], "speed": 3}')
    with pytest.raises(UserError, match="not of a run of this command"):
        parsed("--resume", str(run))
    with pytest.raises(UserError, match=r"has no config\.json"):
        parsed("--resume", str(tmp_path / "none"))
    (tmp_path / "run" / "config.json").unlink()
    (tmp_path / "run" / "config.json").mkdir()
    with pytest.raises(UserError, match=r"config\.json cannot be read: Is a directory"):
        parsed("--resume", str(run))


def test_old_flags_and_old_runs_keep_working(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def parsed(*arguments: str) -> PretrainConfig:
        names = {"--steps-in-all": "--steps", "--lr": "--learning-rate"}, {"rate.first": "learning_rate"}
        return parse(PretrainConfig, None, ["--task", "click_bell", "--data", "d", *arguments], (), *names)

    assert parsed("--steps_in_all", "7", "--lr=0.5") == parsed("--steps", "7", "--learning-rate", "0.5")
    assert capsys.readouterr().err.splitlines() == [
        "--steps_in_all is now --steps; the old name will go in the next version",
        "--lr is now --learning-rate; the old name will go in the next version",
    ]
    old = {"command": [], "task": "click_bell", "data": "d", "rate": {"first": 0.25}}
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert parsed("--resume", str(tmp_path)).learning_rate == 0.25


def test_settings_changed_at_resume_stay_changed_and_the_run_says_so(tmp_path: Path, data: DemonstrationSet) -> None:
    """Otherwise the next --resume takes the old ones, and config.json misreports how the weights came about."""
    run = tmp_path / "run"
    config = PretrainConfig(
        task="click_bell", data=Path("D"), out=run, steps=3, batch_size=2, preset="tiny", save_every=1
    )
    new_run("click_bell", run, config)
    Trainer(config, data, run).train()
    for steps, rate in ((4, 1e-4), (5, 1e-5), (5, 1e-5)):
        flags = ["--resume", str(run), "--steps", str(steps), "--learning-rate", str(rate)]
        resumed = parse(PretrainConfig, None, flags)
        record_resume(run, resumed)
        Trainer(resumed, data, run).train()
        assert load_config(PretrainConfig, run) == replace(resumed, resume=None)
    history = json.loads((run / "config.json").read_text())["history"]
    assert [(entry["step"], entry["changed"]) for entry in history] == [
        (3, {"steps": [3, 4], "learning_rate": [1e-3, 1e-4]}),
        (4, {"steps": [4, 5], "learning_rate": [1e-4, 1e-5]}),
    ]
    texts = EventAccumulator(str(run / "tensorboard")).Reload().Tensors("settings changed/text_summary")
    assert [event.step for event in texts] == [3, 4]


@pytest.mark.parametrize(
    ("flag", "value", "before"),
    [("--task", "turn_switch", "click_bell"), ("--preset", "small", "tiny"), ("--visibility", "full", "intent_causal")],
)
def test_settings_that_cannot_change_are_refused_by_name_and_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, value: str, before: str
) -> None:
    run = tmp_path / "run"
    new_run("click_bell", run, PretrainConfig(task="click_bell", data=Path("D"), preset="tiny"))
    monkeypatch.setattr(sys, "argv", ["pretrain", "--resume", str(run), flag, value])
    with pytest.raises(UserError, match=f"was started with {flag} {before}, which a resumed run cannot change"):
        pretrain.main()


def test_states_that_cannot_be_gone_on_from(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    assert not RunState(tmp_path, layer=layer).exists()
    RunState(tmp_path, layer=layer, counters=Counters(step=5)).save(5)
    with pytest.raises(UserError, match="holds a run already; go on with it by --resume"):
        new_run("t", tmp_path, PretrainConfig(task="click_bell", data=Path("d")))
    with pytest.raises(UserError, match="another configuration"):
        RunState(tmp_path, layer=torch.nn.Linear(4, 2), counters=Counters()).restore()
    # A process killed while it saved leaves its unfinished folder; the last whole state is the one that counts.
    unfinished = tmp_path / "trainer" / ".step_9.stage-1"
    unfinished.mkdir()
    counters = Counters(step=0)
    RunState(tmp_path, layer=layer, counters=counters).restore()
    assert counters["step"] == 5 and not unfinished.exists()
    (tmp_path / "trainer" / "evil.pickle").write_bytes(b"")
    with pytest.raises(UserError, match="is a pickle"):
        RunState(tmp_path, layer=layer, counters=counters).restore()


class Simulators:
    """Stands in for worker processes: what each scene has been sent since its start, which may be nothing yet."""

    def __init__(self, sent: list[np.ndarray]) -> None:
        self.sent = sent

    def state_dict(self) -> dict[str, Any]:
        return {"sent": self.sent, "success": torch.zeros(len(self.sent), 0)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sent = state["sent"]


def test_a_scene_that_has_just_begun_is_gone_on_with(tmp_path: Path) -> None:
    saved = [np.zeros(0, np.float32), np.full((2, 14), 0.5, np.float32)]
    RunState(tmp_path, simulators=Simulators(saved)).save(1)
    again = Simulators([])
    RunState(tmp_path, simulators=again).restore()
    assert [sent.shape for sent in again.sent] == [(0,), (2, 14)] and (again.sent[1] == 0.5).all()


def lose_contents(state: Path) -> None:
    for file in state.rglob("*.memmap"):
        file.write_bytes(b"")


def lose_manifest(state: Path) -> None:
    (state / "manifest.json").write_text("")


@pytest.mark.parametrize("lose", [lose_contents, lose_manifest])
def test_after_a_power_failure_the_state_before_is_gone_on_from(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    layer, counters = torch.nn.Linear(3, 2), Counters(step=0)
    state = RunState(tmp_path, layer=layer, counters=counters)
    for step in (4, 8):
        counters["step"] = step
        torch.nn.init.constant_(layer.weight, step)
        state.save(step)
    before, newest = sorted((tmp_path / "trainer").glob("step-*"))
    lose(newest)
    again = RunState(tmp_path, layer=layer, counters=counters)
    with pytest.warns(UserWarning, match=r"step-0+8 is damaged .*; going on from .*step-0+4, the state before"):
        again.restore()
    assert counters["step"] == 4 and (layer.weight == 4).all()
    assert newest.with_name(f"damaged-{newest.name}").is_dir()  # nobody but the user throws it away
    again.save(8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.restore()
    for path in (before, newest):
        lose(path)
    with pytest.raises(UserError, match="is damaged"):
        again.restore()


def test_a_state_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, closed: Callable[..., AbstractContextManager[None]]
) -> None:
    """Otherwise the run would quietly go on from the state before."""
    state = RunState(tmp_path, layer=torch.nn.Linear(3, 2), counters=Counters(step=0))
    for step in (4, 8):
        state.save(step)
    states = sorted((tmp_path / "trainer").glob("step-*"))
    with closed(states[1] / "manifest.json"), pytest.raises(UserError, match=r"json cannot be read: Permission denied"):
        state.restore()
    assert sorted((tmp_path / "trainer").glob("*")) == states
    state.restore()


@pytest.mark.parametrize("command", [[], None, "pretrain", [1, 2], {"a": 1}])
def test_a_run_that_does_not_say_its_command(tmp_path: Path, command: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"command": command}))
    assert command_of(tmp_path) == ""


class Poisoned(StopAt):
    """Stands in for the data: some batches are not finite."""

    def __init__(self, data: DemonstrationSet, batches: set[int]) -> None:
        super().__init__(data, 0, None)
        self._poisoned = batches

    def packed(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        batch = super().packed(indices, generator)
        if len(indices) == 2 and self._count in self._poisoned:
            batch["waypoints"] = torch.full_like(batch["waypoints"], torch.nan)
        return batch


def test_updates_that_are_not_finite_are_skipped_and_three_in_a_row_are_the_end(
    tmp_path: Path, data: DemonstrationSet
) -> None:
    some: Any = Poisoned(data, {2, 5, 6})
    model = train(tmp_path / "some", some)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    metadata = json.loads((tmp_path / "some" / "checkpoint" / "config.json").read_text())
    assert metadata["skipped_updates"] == 3
    three: Any = Poisoned(data, {6, 7, 8})
    with pytest.raises(UserError, match=r"go on from .*step-0+4, the last good state, by --resume .* lower --learning"):
        train(tmp_path / "three", three)


def test_three_in_a_row_are_noticed_also_after_one_that_was_made(tmp_path: Path) -> None:
    """Stage II looks once per iteration, after all its minibatches."""
    updates = FiniteUpdates(Counters())
    for number in (torch.nan, torch.nan, 1.0, torch.nan, torch.nan):
        updates.allow(torch.tensor(number))
        updates.check(tmp_path, "--rate")
    for number in (torch.nan, 1.0):
        updates.allow(torch.tensor(number))
    with pytest.raises(UserError, match="3 times in a row; start again with a lower --rate"):
        updates.check(tmp_path, "--rate")


def test_ctrl_c_twice_stops_at_once() -> None:
    interrupt = Interrupt("this step")
    with ctrl_c_finishes_the_step(interrupt):
        press_ctrl_c()
        assert interrupt.pressed
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_ctrl_c_says_how_long_it_waits_by_the_last_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(interrupt_module.time, "monotonic", lambda: now)
    interrupt = Interrupt("this step")
    for seconds in (7, 12):
        now += seconds
        interrupt.begin("this step")
    now += 3
    interrupt.press()
    assert capsys.readouterr().err.startswith("Ctrl-C: finishing this step, about 9 s, then saving. Ctrl-C again")


def test_a_run_that_goes_on_with_other_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = PretrainConfig(task="click_bell", data=Path("D"), steps=3)
    for commit in ("abc", "abc", "def"):
        monkeypatch.setattr(environment, "_commit", lambda commit=commit: commit)
        if not (tmp_path / "config.json").exists():
            new_run("click_bell", tmp_path, config)
        record_resume(tmp_path, config)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["environment"]["commit"] == "def" and written["environment"]["torch"] == torch.__version__
    assert [entry["changed"] for entry in written["history"]] == [{"environment.commit": ["abc", "def"]}]
    (tmp_path / "config.json").write_text(json.dumps({**written, "history": 3}))
    with pytest.raises(UserError, match="history is damaged"):
        load_config(PretrainConfig, tmp_path)


def test_what_cannot_be_said_of_a_machine_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout without `pip install`, and a system without /proc."""

    def missing(*_: object) -> str:
        raise PackageNotFoundError("aim_rl")

    monkeypatch.setattr(environment, "version", missing)
    monkeypatch.setattr(environment, "Path", lambda _: tmp_path / "no such file")
    new_run("click_bell", tmp_path / "run", PretrainConfig(task="click_bell", data=Path("D")))
    monkeypatch.undo()
    said = json.loads((tmp_path / "run" / "config.json").read_text())["environment"]
    assert said["aim_rl"] == "not installed" and said["processor"].startswith(platform.machine())


@pytest.mark.parametrize("found", [{"format": "aim_rl.checkpoint/1"}, {"command": [], "task": "t", "episodes": 3}, []])
def test_the_folder_of_something_else_is_not_written_over(tmp_path: Path, found: object) -> None:
    """`--out CHECKPOINT` or `--out DATASET` would destroy its config.json."""
    (tmp_path / "config.json").write_text(json.dumps(found))
    config = PretrainConfig(task="click_bell", data=Path("D"))
    with pytest.raises(UserError, match=r"config\.json is of a checkpoint or of another command; choose another --out"):
        new_run("click_bell", tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text()) == found
    new_run("click_bell", tmp_path / "run", config)
    new_run("click_bell", tmp_path / "run", config)  # one that was stopped before its first state begins again


def test_ctrl_c_in_torchrls_loss_is_one(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    with (
        pytest.raises(KeyboardInterrupt, match=f"go on with --resume {tmp_path}"),
        says_how_to_resume(tmp_path),
        TensorDict.from_module(module).to_module(module, preserve_module_state=False),
    ):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt, match="go on with --resume '/my run'"), says_how_to_resume(Path("/my run")):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError, match="another"), says_how_to_resume(tmp_path):
        raise RuntimeError("another")

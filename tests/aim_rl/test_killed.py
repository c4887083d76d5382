"""Every command, interrupted at random moments and resumed, ends as one that nobody touched: bit for bit.

With one worker process and one core: with more, TorchRL's order of arrival and oneDNN's rounding vary by themselves.
"""

from __future__ import annotations

import contextlib
import csv
import json
import multiprocessing as mp
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aim_rl import collect, finetune, pretrain
from aim_rl.data.files import episode_path, write_episode
from aim_rl.model import AIM
from aim_rl.model.checkpoint import save_checkpoint
from envs import backend
from envs.errors import exit_cleanly

from .data.conftest import episode_of

KILLS = 10
SIZES = [
    "--iterations",
    "5",
    "--rollout.group-size",
    "2",
    "--rollout.num-groups",
    "1",
    "--workers",
    "1",
    "--rollout.envs-per-worker",
    "2",
    "--rollout.step-limit",
    "40",
]
BELL = ["--task", "click_bell"]


class Command:
    """`python -m module arguments` in a process of its own, which need not import everything again."""

    def __init__(self, module: ModuleType, arguments: list[object], output: Path) -> None:
        self._output = output
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            for stream in (1, 2):
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            sys.argv = [module.__name__, *map(str, arguments)]
            code: Any = 1
            try:
                exit_cleanly(module.main)
                code = 0
            except SystemExit as ended:
                code = ended.code
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self, moment: Callable[[], bool] = lambda: False) -> int | None:
        """Its exit code, as `subprocess` has it; None if it still runs when the moment has come."""
        while not moment():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                # A forked worker holds its own end of the channel too, so it does not see this one go.
                with contextlib.suppress(ProcessLookupError):
                    self.send(signal.SIGKILL)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        return None

    def send(self, what: signal.Signals) -> None:
        """To all of its processes, as a machine's end and a terminal's Ctrl-C are."""
        os.killpg(self.pid, what)


def random_moment(folder: Path, whole: float, chance: random.Random) -> Callable[[], bool]:
    """Of a run that takes `whole` seconds: by the clock, or shortly after one of the next changes to its files."""

    def files() -> set[tuple[Path, int]]:
        found = set()
        for place, _, names in os.walk(folder):
            for path in (Path(place, name) for name in names):
                with contextlib.suppress(OSError):  # it has just gone
                    found.add((path, path.stat().st_mtime_ns))
        return found

    if chance.random() < 0.2:
        due = time.monotonic() + chance.uniform(0, whole)
        return lambda: time.monotonic() > due
    before, changes, seen = files(), chance.randint(1, 12), set[tuple[Path, int]]()
    pause = chance.choice([0.0, chance.uniform(0, 1)])

    def come() -> bool:
        seen.update(files() - before)
        if len(seen) < changes:
            return False
        time.sleep(pause)
        return True

    return come


def survives(module: ModuleType, run: Callable[[str], Path], begin: Callable[[Path], list[object]], same: Any) -> None:
    """Interrupts runs of a command until it has been killed `KILLS` times and Ctrl-C been pressed once and twice.

    Args:
        module: the command.
        run: name -> folder.
        begin: folder -> arguments that begin a run there.
        same: (untouched folder, other folder) -> asserts that they hold the same.
    """
    untouched, chance = run("untouched"), random.Random(0)
    started = time.monotonic()
    assert Command(module, begin(untouched), untouched.with_suffix(".log")).wait() == 0
    whole = time.monotonic() - started
    print(f"{module.__name__}: {whole:.1f} s untouched")
    what = ["kill"] * KILLS + ["once", "twice"]
    chance.shuffle(what)
    number = 0
    while what:
        number += 1
        folder = run(f"interrupted_{number}")
        log, code = folder.with_suffix(".log"), None
        while code != 0:
            resumable = (folder / "config.json").exists()
            command = Command(module, ["--resume", folder] if resumable else begin(folder), log)
            code = command.wait(random_moment(folder, whole, chance)) if what else command.wait()
            if code is None and what[-1] == "kill":
                command.send(signal.SIGKILL)
                command.wait()
            elif code is None:
                command.send(signal.SIGINT)
                if what[-1] == "twice":
                    time.sleep(chance.uniform(0, 0.5))
                    command.send(signal.SIGINT)
                code = command.wait()
                if code == 130 and resumable:
                    assert f"go on with --resume {folder}" in log.read_text()
            else:
                assert code == 0, log.read_text()
                continue
            if code in (None, 130):
                print(f"{module.__name__}: {what.pop()}")
            else:  # Ctrl-C in its last step
                assert code == 0, log.read_text()
        same(untouched, folder)
    print(f"{module.__name__}: {number} runs, {time.monotonic() - started:.0f} s")


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """All but speeds."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    names = [name for name in events.Tags()["scalars"] if "/speed/" not in name]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def same_run(one: Path, other: Path) -> None:
    """Weights, curves, metadata and results, but for the time that they took."""
    for name in ("checkpoint", "best"):
        ours, theirs = (load_file(run / name / "model.safetensors") for run in (one, other))
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items()), name
    assert scalars(one) == scalars(other)
    for name in ("checkpoint/config.json", "best/config.json", "result.json", "stage1.json"):
        assert (one / name).exists() == (other / name).exists()
        if (one / name).exists():
            ours, theirs = (json.loads((run / name).read_text()) for run in (one, other))
            assert {**ours, "minutes": 0} == {**theirs, "minutes": 0}, name
    assert not [path for path in other.rglob(".*") if path.parent.name != "trainer"], "half-written files"


@pytest.fixture(autouse=True)
def moments_are_spent_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with imports, nor with trying the renderer: processes are forked from this one, which has imported all."""
    fork = mp.get_context("fork")
    monkeypatch.setattr(mp, "get_context", lambda _=None: fork)
    monkeypatch.setattr(backend, "require_rendering", lambda: None)
    monkeypatch.setattr(finetune, "duration", lambda *_: "")  # its scene would not survive these forks


@pytest.fixture
def stage1(tmp_path: Path, tiny_model: AIM) -> Path:
    save_checkpoint(tmp_path / "stage1", tiny_model, {"task": "click_bell", "stage": 1})
    return tmp_path / "stage1"


@pytest.mark.slow
def test_collect_survives(tmp_path: Path) -> None:
    def same(one: Path, other: Path) -> None:
        ours, theirs = (sorted((folder / "data").iterdir()) for folder in (one, other))
        assert [path.name for path in ours] == [path.name for path in theirs]
        assert all(a.read_bytes() == b.read_bytes() for a, b in zip(ours, theirs, strict=True))
        last = [folder.with_suffix(".log").read_text().splitlines()[-1] for folder in (one, other)]
        assert last[0].rpartition(";")[2] == last[1].rpartition(";")[2]  # seeds dropped

    def begin(folder: Path) -> list[object]:
        return [*BELL, "--out", folder, "--episodes", 6, "--workers", 1]

    survives(collect, tmp_path.joinpath, begin, same)


@pytest.mark.slow
def test_pretrain_survives(tmp_path: Path) -> None:
    for number in range(3):
        write_episode(episode_path(tmp_path / "data", number), episode_of(seed=number))
    sizes = ["--steps", 60, "--batch-size", 2, "--preset", "tiny", "--save-every", 4]
    where = ["--task", "stack_blocks", "--data", tmp_path / "data"]
    survives(pretrain, tmp_path.joinpath, lambda folder: [*where, "--out", folder, *sizes], same_run)


@pytest.mark.slow
def test_finetune_survives(tmp_path: Path, stage1: Path) -> None:
    often = ["--save-every", 2, "--rl.critic-steps", 5]
    begin = [*BELL, "--stage1", stage1, *SIZES, *often, "--evaluation-episodes", 1, "--validation-episodes", 2]
    survives(finetune, tmp_path.joinpath, lambda folder: [*begin, "--out", folder], same_run)


@pytest.mark.slow
def test_experiments_survive(tmp_path: Path, stage1: Path) -> None:
    """Of those that run others, the one that runs the longest."""
    from experiments import stage2_seeds

    def same(one: Path, other: Path) -> None:
        tables = [list(csv.DictReader((folder / "results.csv").open())) for folder in (one, other)]
        assert [{**row, "minutes": 0} for row in tables[0]] == [{**row, "minutes": 0} for row in tables[1]]
        ours, theirs = (load_file(folder / "seed_0/checkpoint/model.safetensors") for folder in (one, other))
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
        assert scalars(one / "seed_0") == scalars(other / "seed_0")

    def begin(folder: Path) -> list[object]:
        passed_on = [
            "--stage1",
            stage1,
            *SIZES,
            "--iterations",
            12,
            "--evaluation-episodes",
            1,
            "--validation-episodes",
            0,
        ]
        return [*BELL, "--out", folder, "--seeds", 1, "--", *passed_on]

    survives(stage2_seeds, tmp_path.joinpath, begin, same)

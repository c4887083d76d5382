"""The grid of rewards: what is run, what is not run again, and what the tables say of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from aim_rl.model import AIM
from aim_rl.model.checkpoint import load_checkpoint, save_checkpoint
from aim_rl.rl.config import RewardOptions, RolloutOptions, parse_flags
from aim_rl.runs.folder import tensorboard
from aim_rl.runs.statistics import success_rate
from envs.errors import UserError, exit_cleanly
from experiments import reward_shaping, runs
from experiments.reward_shaping import VARIANTS


def finished_run(folder: Path, successes: int, rise: float) -> None:
    writer = tensorboard(folder)
    for iteration in range(12):
        step = 1000 * (iteration + 1)
        writer.add_scalar("stage2/success", min(1.0, rise * iteration), step)
        writer.add_scalar("stage2/return_dense", 0.5, step)
        writer.add_scalar("stage2/watch/hovering", 0.25, step)
        writer.add_scalar("stage2/watch/alarm", float(iteration == 11), step)
    writer.close()
    result = {"stage1": None, "stage2": success_rate(successes, 100), "environment_steps": 12000, "minutes": 1.25}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_flags_that_finetune_takes(name: str) -> None:
    variant = VARIANTS[name]
    config = parse_flags(None, ["--task", "click_bell", *variant.flags, variant.weight, "0.5"])
    assert 0.5 in (config.reward.lambda_dense, config.rl.dense_weight)
    assert config.rl.dense_weight is None or config.rl.advantage != "gae"


def test_a_variant_without_a_known_scale_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of 0 would train success alone under the name of another reward."""
    assert [name for name, variant in VARIANTS.items() if not variant.scale] == ["sparse", "group_sparse"]
    monkeypatch.delitem(reward_shaping.EARNED, "gated")
    with pytest.raises(KeyError, match="gated"):
        reward_shaping.shaped("gated")


def test_the_weights_leave_the_default_as_it_is_and_let_the_additive_reward_hover() -> None:
    (weight,) = reward_shaping.ShapingConfig("t", Path()).lambdas
    assert weight * VARIANTS["settled"].scale == RewardOptions.lambda_dense
    at_a_peak_throughout = weight * VARIANTS["additive"].scale * RolloutOptions.step_limit
    assert at_a_peak_throughout > 2 * RewardOptions.lambda_sparse


def test_the_grid_runs_what_is_missing_and_compares_the_rest(
    tmp_path: Path, tiny_model: AIM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Path("S"), tiny_model, {"task": "click_bell", "stage": 1})
    commands: list[tuple[str, list[str]]] = []

    def fake_run(module: str, *options: object) -> None:
        words = [str(option) for option in options]
        commands.append((module, words))
        if module == "aim_rl.evaluate":
            Path(words[words.index("--json") + 1]).write_text(json.dumps(success_rate(40, 100)))
        else:
            finished_run(Path(words[words.index("--resume") + 1]), 80, 0.1)

    for seed in (0, 1):
        finished_run(tmp_path / f"sparse-0-{seed}", 50, 0.05)
    finished_run(tmp_path / "gated-1e-05-3", 60, 0.05)  # another machine's
    finished_run(tmp_path / "additive-0.2-0", 70, 0.2)
    stopped = tmp_path / "additive-0.2-1"
    finished_run(stopped, 0, 0.0)
    (stopped / "result.json").rename(stopped / "config.json")
    for module in (reward_shaping, runs):
        monkeypatch.setattr(module, "run", fake_run)
    options = ["--variants", "sparse", "additive", "--seeds", "0", "1", "--stage1", "S"]
    options += ["--thresholds", "0.28", "0.75"]
    arguments = ["--task", "click_bell", "--out", str(tmp_path), *options, "--", "--iterations", "12"]
    monkeypatch.setattr(sys, "argv", ["reward_shaping", *arguments])
    reward_shaping.main()
    (measured, stage1), (trained, flags) = commands
    assert (measured, trained) == ("aim_rl.evaluate", "aim_rl.finetune")
    assert stage1[stage1.index("--checkpoint") + 1] == "S"
    assert flags == ["--iterations", "12", "--resume", str(stopped)]
    commands.clear()
    monkeypatch.setattr(sys, "argv", ["reward_shaping", "--resume", str(tmp_path)])
    reward_shaping.main()
    assert commands == []
    (stopped / "result.json").unlink()
    (stopped / "config.json").unlink()
    with pytest.raises(ValueError, match="--resume"):  # what `fake_run` looks for
        reward_shaping.main()
    ((_, flags),) = commands
    assert flags[flags.index("--stage1") + 1] == "S"
    assert float(flags[flags.index("--reward.lambda-dense") + 1]) == pytest.approx(0.2 * 5.10 / 30.70, rel=1e-4)
    assert flags[-4:] == ["--iterations", "12", "--out", str(stopped)] and "--no-measure-stage1" in flags

    with (tmp_path / "results.csv").open() as file:
        lines = {(line["variant"], line["seed"]): line for line in csv.DictReader(file)}
    assert (
        len(lines) == 5 and lines[("gated", "3")]["lambda"] == "1e-05" and lines[("additive", "0")]["successes"] == "70"
    )
    # Five-iteration means of 0, 0.2, .. 1, 1: 0.76 at the sixth point's ... (0.2+0.4+0.6+0.8+1)/5 = 0.6, then 0.76.
    assert lines[("additive", "0")]["steps_to_0.75"] == "7000"
    assert lines[("additive", "1")]["steps_to_0.75"] == "11000"  # 0.1 more per iteration, not the old zeros
    assert lines[("sparse", "0")]["steps_to_0.75"] == ""
    table = (tmp_path / "table.md").read_text()
    assert "75.0 %" in table and "9000 (7000 to 11000)" in table and "never, never" in table and "40.0 %" in table
    # To 0.28: means of five iterations first reach it at 0.3 (0.05 more per iteration), 0.3 (0.1) and 0.4 (0.2).
    assert "9000 (9000 to 9000), 1.00 × sparse" in table and "5500 (5000 to 6000), 0.61 × sparse" in table
    with (tmp_path / "curves.csv").open() as file:
        assert sum(1 for _ in csv.DictReader(file)) == 5 * 12
    assert iio.imread(tmp_path / "success.png").std() > 10


@pytest.mark.slow
def test_the_grid_end_to_end(tmp_path: Path, tiny_model: AIM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real runs of every kind of flag: maps, annealing, parts normalised apart, world streams trained."""
    save_checkpoint(tmp_path / "stage1", tiny_model, {"task": "click_bell", "stage": 1})
    names = ["sparse", "annealed", "held", "group_apart", "settled_other_scene", "privileged", "world_trained"]
    sizes = ["--iterations", "2", "--rollout.group-size", "2", "--rollout.num-groups", "2", "--workers", "1"]
    sizes += ["--rollout.envs-per-worker", "4"]
    own = ["--out", str(tmp_path / "grid"), "--stage1", str(tmp_path / "stage1"), "--variants", *names, "--seeds", "0"]
    arguments = ["--task", "click_bell", *own, "--episodes", "1", "--", *sizes, "--rollout.step-limit", "24"]
    monkeypatch.setattr(sys, "argv", ["reward_shaping", *arguments])
    reward_shaping.main()
    with (tmp_path / "grid" / "results.csv").open() as file:
        lines = {line["variant"]: line for line in csv.DictReader(file)}
    assert list(lines) == names
    assert all(int(line["environment_steps"]) == 2 * 4 * 24 for line in lines.values())
    stage1, trained = (
        load_checkpoint(path)[0] for path in (tmp_path / "stage1", tmp_path / "grid/world_trained-0.2-0")
    )
    assert not torch.equal(stage1.m.embedding.weight, trained.m.embedding.weight)


@pytest.mark.parametrize(
    ("task", "arguments", "expected"),
    [
        ("stack_blocks", ["--variants", "sparse", "dense"], "'dense'"),
        ("stack_blocks", ["--", "--rollout.group-size", "1"], "--rollout.group-size must be at least 2"),
        ("click_bell", [], "give --stage1 DIR"),
        ("beat_block_hammer", ["--stage1", "S", "--variants", "sparse", "privileged"], "measures no progress"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_runs(
    task: str,
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    tiny_model: AIM,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Path("S"), tiny_model, {"task": "beat_block_hammer", "stage": 1})
    monkeypatch.setattr(sys, "argv", ["reward_shaping", "--task", task, "--out", "o", *arguments])
    with pytest.raises(SystemExit, match="2"):
        exit_cleanly(reward_shaping.main)
    assert expected in capsys.readouterr().err and not Path("o").exists()


def test_the_default_rows_go_without_a_progress_that_the_task_does_not_measure(
    tmp_path: Path, tiny_model: AIM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path / "S", tiny_model, {"task": "beat_block_hammer", "stage": 1})
    own = ["--task", "beat_block_hammer", "--out", str(tmp_path / "o"), "--stage1", str(tmp_path / "S")]
    monkeypatch.setattr(sys, "argv", ["reward_shaping", *own])
    trained: list[tuple[str, ...]] = []
    monkeypatch.setattr(reward_shaping, "measure", lambda config, _: trained.append(config.variants))
    reward_shaping.main()
    assert trained == [tuple(name for name in reward_shaping.DEFAULT if name != "privileged")]
    assert "`privileged` is left out" in capsys.readouterr().out


def test_a_failed_run_ends_in_one_sentence() -> None:
    with pytest.raises(runs.UserError, match="finished runs are kept"):
        runs.run("json.tool", "--no-such-flag")


def test_ctrl_c_is_passed_on_to_the_run_and_its_exit_code_ends_the_experiment(tmp_path: Path) -> None:
    def press_when_it_runs() -> None:
        while not (tmp_path / "running").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_when_it_runs, daemon=True).start()
    touch = f"open({str(tmp_path / 'running')!r}, 'w')"
    code = f"import os, time\ntry: {touch}; time.sleep(1000)\nexcept KeyboardInterrupt: os._exit(130)"
    with pytest.raises(KeyboardInterrupt):
        runs.run("timeit", "-n", "1", "-r", "1", code)


def test_resuming_needs_an_experiments_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["e", "--resume", str(tmp_path)])
    with pytest.raises(UserError, match=r"no config\.json with its command"):
        runs.own_and_passed_on()
    (tmp_path / "config.json").write_text(json.dumps({"command": ["e", "--out", "elsewhere", "--", "--seed", "1"]}))
    assert runs.own_and_passed_on() == (["--out", str(tmp_path)], ["--seed", "1"])
    monkeypatch.setattr(sys, "argv", ["e", "--resume", str(tmp_path), "--seeds", "9"])
    with pytest.raises(UserError, match="and nothing else"):
        runs.own_and_passed_on()


def test_steps_to_a_threshold() -> None:
    steps, values = np.arange(1, 9) * 100.0, np.array([0, 0, 0, 0, 1, 1, 1, 1], float)
    assert runs.steps_to(0.6, steps, values) == 700
    assert runs.steps_to(0.9, steps, values) is None


@pytest.mark.parametrize("flag", ["--out=elsewhere", "--resume", "--robotwin_python"])
def test_a_strangers_experiment_stays_in_its_folder(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*passed_on: str) -> None:
        words = ["e", "--out", "/elsewhere", "--", "--stage1", str(tmp_path), *passed_on]
        (tmp_path / "config.json").write_text(json.dumps({"command": words}))
        monkeypatch.setattr(sys, "argv", ["e", "--resume", str(tmp_path)])

    command()
    assert runs.own_and_passed_on()[0] == ["--out", str(tmp_path)]
    command(flag)
    with pytest.raises(UserError, match="repeat the command itself"):
        runs.own_and_passed_on()

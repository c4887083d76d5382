"""All stages at toy size through the commands: collect, pretrain, finetune, evaluate."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aim_rl import collect, evaluate, finetune, pretrain, report
from aim_rl.data.files import find_episodes, read_episode
from aim_rl.model.presets import PRESETS
from aim_rl.rollout.kept_rollouts import RolloutNotes
from aim_rl.rollout.seeds import TEST
from envs.backend import TABLETOP
from envs.errors import exit_cleanly

RATE = {"successes", "episodes", "success_rate", "ci_low", "ci_high"}


def command(module: ModuleType, *arguments: object, task: str = "click_bell") -> str:
    """Runs `python -m module --task click_bell arguments` in this process; returns what it prints."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(sys, "argv", [module.__name__, "--task", task, *map(str, arguments)])
        exit_cleanly(module.main)
    return output.getvalue()


def tags(run: Path) -> tuple[set[str], set[str]]:
    """Names of the scalars and of the pictures in a run's TensorBoard events."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return set(events.Tags()["scalars"]), set(events.Tags()["images"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(scope="module")
def data(place: Path) -> Path:
    """Three episodes, in two runs of the command: the second goes on where the first stopped, by its configuration."""
    arguments = ["--out", place / "data", "--workers", 1, "--seed", 20]
    command(collect, *arguments, "--episodes", 1)
    (first,) = (place / "data" / "data").iterdir()
    before = first.read_bytes()
    command(collect, "--resume", place / "data", "--episodes", 3)
    assert first.read_bytes() == before
    return place / "data"


@pytest.fixture(scope="module")
def stage1(place: Path, data: Path) -> tuple[Path, str]:
    """The run's folder, and what the command printed."""
    run, sizes = place / "stage1", ["--preset", "tiny", "--steps", 8, "--batch-size", 4]
    return run, command(pretrain, "--data", data, "--out", run, *sizes)


@pytest.fixture(scope="module")
def stage2(place: Path, stage1: tuple[Path, str]) -> tuple[Path, str]:
    """The run's folder, and what the command printed."""
    sizes = ["--iterations", 4, "--rollout.group-size", 2, "--rollout.num-groups", 1, "--workers", 1]
    sizes += ["--rollout.envs-per-worker", 2, "--rollout.step-limit", 24, "--evaluation-episodes", 1]
    sizes += ["--validation-episodes", 2, "--validate-every", 2, "--keep-rollouts", 2]
    run = place / "stage2"
    return run, command(finetune, "--stage1", stage1[0], "--out", run, *sizes)


def test_collect_goes_on_where_it_stopped(data: Path) -> None:
    files = sorted((data / "data").iterdir())
    assert [path.name for path in files] == [f"episode_{index:07d}.hdf5" for index in range(3)]
    seeds = [read_episode(path).seed for path in files]
    assert seeds[0] >= 20 and seeds == sorted(set(seeds))


def test_a_dataset_of_another_task_is_not_mixed_in(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(data.parent.rglob("*"))
    for arguments in ((collect, "--out", data), (pretrain, "--data", data, "--out", data.parent / "no")):
        with pytest.raises(SystemExit, match="2"):
            command(*arguments, task="stack_blocks")
        assert "click_bell" in capsys.readouterr().err
    assert sorted(data.parent.rglob("*")) == before


def test_pretrain_refuses_an_output_below_a_file(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "file").write_text("in the way")
    with pytest.raises(SystemExit, match="2"):
        command(pretrain, "--data", data, "--out", data.parent / "file" / "run", "--preset", "tiny")
    assert "error: cannot write to" in capsys.readouterr().err


def test_pretrain_leaves_a_checkpoint_and_its_curves(stage1: tuple[Path, str]) -> None:
    run, output = stage1
    assert f"--checkpoint {run}" in output and "Stage I click_bell 8/8 steps" in output
    assert sorted(path.name for path in run.iterdir()) == [
        "best",
        "checkpoint",
        "config.json",
        "tensorboard",
        "trainer",
    ]
    metadata = json.loads((run / "checkpoint" / "config.json").read_text())
    assert (metadata["task"], metadata["stage"], metadata["steps"]) == ("click_bell", 1, 8)
    scalars, images = tags(run)
    assert {f"stage1/{name}" for name in ("loss", "rgb", "map", "action", "gradient_norm")} <= scalars
    assert {"stage1/held_out/last_waypoint_error_m", "stage1/held_out/map_peak_error_px"} <= scalars
    assert images == {"stage1/predicted_and_true"}


def test_finetune_measures_both_stages_and_leaves_its_run(stage2: tuple[Path, str]) -> None:
    run, output = stage2
    assert "Stage I" in output and "Stage II" in output and "n = 1" in output
    assert "--keep-rollouts 2 will take up to" in output and "No rollout succeeded" in output
    left = ["best", "checkpoint", "config.json", "result.json", "stage1.json", "tensorboard"]
    assert sorted(path.name for path in run.iterdir()) == left
    result = json.loads((run / "result.json").read_text())
    assert set(result["stage1"]) == set(result["stage2"]) == RATE
    assert result["stage1"]["episodes"] == result["stage2"]["episodes"] == 1
    assert (result["task"], result["setting"], result["episodes"]) == ("click_bell", "clean", 8)
    assert 8 <= result["environment_steps"] <= 8 * 24 and result["minutes"] > 0
    metadata = json.loads((run / "checkpoint" / "config.json").read_text())
    assert metadata["stage"] == 2 and metadata["measured"]["episodes"] == 1
    assert metadata["command"].startswith("python -m aim_rl.finetune --task click_bell --stage1")
    assert metadata["trained_from"]["command"].startswith("python -m aim_rl.pretrain --task click_bell --data")
    assert "| Stage I: data |" in (run / "checkpoint" / "README.md").read_text()
    scalars, images = tags(run)
    expected = {"success", "return", "return_dense", "return_sparse", "groups_mixed", "noise_level"}
    expected |= {"watch/alarm", "watch/hovering", "dense_success_rank_correlation"}
    expected |= {"speed/episodes_per_s", "speed/decisions_per_s", "update/decisions"}
    assert {f"stage2/{name}" for name in expected} <= scalars
    assert images and images <= {"rollout/success", "rollout/failure"}


def test_finetune_says_first_what_it_does_and_how_long_that_takes(stage2: tuple[Path, str]) -> None:
    run, output = stage2
    lines = output.splitlines()
    assert lines[0] == "Stage II, reinforcement learning of click_bell (clean):"
    assert "  2. 4 iterations of 2 episodes, and 2 validation scenes every 2 iterations" in lines
    measured = next(number for number, line in enumerate(lines) if line.startswith("Measured on this machine"))
    assert any(f"tensorboard --logdir {run}" in line for line in lines[:measured])
    assert lines[measured + 1].startswith("evaluate Stage I")


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_report_of_either_stage(stage: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(stage)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["report", str(run)])
        exit_cleanly(report.main)
    page = (run / "report.html").read_text()
    assert "Not on this page" not in page or "videos (" in page
    assert page.count("<svg") >= 4 and "data:image/" in page


def endposes(seed: int) -> np.ndarray:
    """The expert's actions as a policy gives them: end-effector poses and grippers f32 [steps, 16]."""
    env: Any = TABLETOP.make("click_bell", "clean", PRESETS["tiny"].head_size, PRESETS["tiny"].wrist_size)
    rows = []
    actions = env.demonstrate(seed).action
    env.restart(seed)
    for action in actions:
        env.control(action)
        poses = [arm.commanded_endpose() for arm in env.scene.arms.values()]
        rows.append([*poses[0].p, *poses[0].q, action[6], *poses[1].p, *poses[1].q, action[13]])
    return np.array(rows, np.float32)


def test_rollouts_that_succeeded_are_data_for_stage_one(tmp_path: Path, stage2: tuple[Path, str]) -> None:
    """The run's own policy solves nothing, so the expert's actions stand in for what it would have noted."""
    run = shutil.copytree(stage2[0], tmp_path / "run")
    seeds = (200_021, 200_022, 200_023)
    notes = {str(seed): torch.from_numpy(endposes(seed)) for seed in seeds}
    RolloutNotes(run).folder.mkdir()
    save_file(notes, RolloutNotes(run).folder / "0000003.safetensors")
    output = command(finetune, "--resume", run)
    assert "Writing 2 rollouts" in output and f"pretrain --task click_bell --data {run / 'rollouts'}" in output
    episodes = [read_episode(path) for path in sorted((run / "rollouts" / "data").iterdir())]
    assert [(episode.seed, episode.success) for episode in episodes] == [(seed, True) for seed in seeds[1:]]
    assert all(episode.contacts_recorded and len(episode.contacts.time) for episode in episodes)
    assert not RolloutNotes(run).folder.exists()
    sizes = ["--preset", "tiny", "--steps", 2, "--batch-size", 2]
    said = command(pretrain, "--data", run / "rollouts", "--out", tmp_path / "again", *sizes)
    assert "2 episodes of click_bell: contacts recorded in 2" in said


def test_stage_one_goes_on_from_a_checkpoint_and_the_experts_corrections(
    place: Path, stage1: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """At a rate of almost nothing a step leaves the weights where the checkpoint has them, its statistics exactly."""
    corrected = place / "corrected"
    command(collect, "--policy", stage1[0], "--out", corrected, "--episodes", 2, "--workers", 1, "--seed", 50)
    episodes = [read_episode(source) for source in find_episodes(corrected)]
    assert len(episodes) == 2 and all(e.perturbed[0] and not e.perturbed[-1] and e.success for e in episodes)
    start = ["--data", corrected, "--init", stage1[0], "--steps", 1, "--batch-size", 2, "--out", place / "further"]
    command(pretrain, "--preset", "tiny", "--learning-rate", 1e-9, *start)
    before, after = (load_file(run / "checkpoint" / "model.safetensors") for run in (stage1[0], place / "further"))
    assert all(torch.allclose(after[name], before[name], atol=1e-7) for name in before)
    assert torch.equal(after["waypoints.mean"], before["waypoints.mean"])
    with pytest.raises(SystemExit, match="2"):
        command(pretrain, "--preset", "small", *start[:-1], place / "other")
    assert "is of the preset tiny (intent_causal); give --preset tiny" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command(collect, "--out", corrected, "--episodes", 3, "--seed", 50)
    assert f"holds episodes of --policy {stage1[0]}, not None" in capsys.readouterr().err


@pytest.mark.parametrize("left", ['{"stage1": ', "[" * 100_000, b"\xff"])
def test_a_result_that_is_damaged_is_named(
    tmp_path: Path, stage2: tuple[Path, str], left: str | bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(stage2[0], tmp_path / "run")
    (run / "result.json").write_bytes(left if isinstance(left, bytes) else left.encode())
    with pytest.raises(SystemExit, match="2"):
        command(finetune, "--resume", run)
    assert f"error: {run / 'result.json'} cannot be read" in capsys.readouterr().err


def test_evaluate_repeats_the_measurement_of_the_run(place: Path, stage2: tuple[Path, str]) -> None:
    file, video, run = place / "results" / "evaluation.json", place / "video", stage2[0]
    outputs = ["--json", file, "--video", video, "--record", place / "recorded"]
    command(evaluate, "--checkpoint", run, "--episodes", 1, "--workers", 1, *outputs)
    result = json.loads(file.read_text())
    assert set(result) == {"task", "setting", "instructions", "checkpoint", "seeds", "succeeded", "seconds"} | RATE
    assert result["succeeded"] == result["seeds"][: result["successes"]]
    assert result["seeds"] == [TEST] and result["checkpoint"] == str(run)
    assert {key: result[key] for key in RATE} == json.loads((run / "result.json").read_text())["stage2"]
    assert [path.name for path in video.iterdir()] == [f"click_bell-{TEST}.mp4"]
    frames = iio.imread(video / f"click_bell-{TEST}.mp4")
    assert frames.shape[1:] == (512, 640, 3) and len(frames) > 1 and frames.std() > 10
    (source,) = find_episodes(place / "recorded")
    episode = read_episode(source)
    assert (episode.task, episode.seed, episode.success) == ("click_bell", TEST, bool(result["successes"]))
    assert np.array_equal(episode.action[:-1], episode.qpos[1:]) and np.ptp(episode.qpos, 0).max() > 0.01
    (maps,) = (place / "recorded" / "videos" / "value_map").rglob("*.mp4")
    assert iio.imread(maps).shape == (len(episode), *PRESETS["tiny"].head_tile, 3)

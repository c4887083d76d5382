"""Bad input, as a person at the keyboard meets it: one sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aim_rl import collect, evaluate, finetune, pretrain
from aim_rl.data.files import episode_path
from aim_rl.model import AIM, checkpoint
from aim_rl.rl.config import RewardOptions, RolloutOptions
from aim_rl.rl.exploration import ExplorationConfig
from aim_rl.rl.ppo import PpoConfig
from aim_rl.supervised.config import PretrainConfig
from envs import backend
from envs.errors import UserError, exit_cleanly

BAD_TASK = ["--task", "stack_bloks_two"]
BELL = ["--task", "click_bell"]


@pytest.fixture
def workplace(tmp_path: Path, tiny_model: AIM, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `good` (a checkpoint for click_bell), `foreign`, `file`, `empty`, `broken` and `small` data."""
    checkpoint.save_checkpoint(tmp_path / "good", tiny_model, {"task": "click_bell", "stage": 1})
    shutil.copytree(tmp_path / "good", tmp_path / "foreign")
    (tmp_path / "foreign" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "empty").mkdir()
    for index in range(2):
        path = episode_path(tmp_path / "broken", index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "empty")
    monkeypatch.setattr(backend, "require_rendering", lambda: None)  # not what is tested here, and seconds long
    return tmp_path


@pytest.fixture
def refused(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[ModuleType, list[str]], str]:
    """`refused(command, arguments)`: runs a command that must not start; returns its sentence."""

    def run(command: ModuleType, arguments: list[str]) -> str:
        before = sorted(workplace.rglob("*"))
        monkeypatch.setattr(sys, "argv", [f"{command.__name__}", *arguments])
        with pytest.raises(SystemExit) as ended:
            exit_cleanly(command.main)
        words = capsys.readouterr().err
        assert ended.value.code == 2
        assert words.startswith("error: ") and words.count("\n") == 1, words
        assert sorted(workplace.rglob("*")) == before
        return words

    return run


Refused = Callable[[ModuleType, list[str]], str]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (collect, ["--out", "new"]),
        (pretrain, ["--data", "empty"]),
        (finetune, []),
        (evaluate, []),
    ],
    ids=lambda value: value.__name__ if isinstance(value, ModuleType) else "",
)
def test_an_unknown_task_names_the_nearest(refused: Refused, command: ModuleType, arguments: list[str]) -> None:
    assert "did you mean 'stack_blocks_two'?" in refused(command, [*BAD_TASK, *arguments])


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(collect, ["--out", "new"]), (finetune, ["--stage1", "good"]), (evaluate, ["--checkpoint", "good"])],
    ids=lambda value: value.__name__ if isinstance(value, ModuleType) else "",
)
def test_an_unknown_setting_names_the_two(refused: Refused, command: ModuleType, arguments: list[str]) -> None:
    words = refused(command, [*BELL, *arguments, "--setting", "hard"])
    assert "'hard'" in words and "clean, randomized" in words


@pytest.mark.parametrize(("command", "flag"), [(evaluate, "--checkpoint"), (finetune, "--stage1")])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nowhere", "nowhere does not exist"),
        ("empty", "holds no checkpoint"),
        ("foreign", "not a checkpoint of aim_rl"),
    ],
)
def test_a_checkpoint_that_is_none(refused: Refused, command: ModuleType, flag: str, given: str, expected: str) -> None:
    words = refused(command, [*BELL, flag, given])
    assert expected in words and given in words


@pytest.mark.parametrize(("command", "flag"), [(evaluate, "--checkpoint"), (finetune, "--stage1")])
def test_a_checkpoint_of_another_task(refused: Refused, command: ModuleType, flag: str) -> None:
    words = refused(command, ["--task", "stack_blocks", flag, "good"])
    assert "trained for click_bell, not for stack_blocks_two" in words


@pytest.mark.parametrize(("command", "flag"), [(evaluate, "--checkpoint"), (finetune, "--stage1")])
def test_a_task_without_few_shot_checkpoint(refused: Refused, command: ModuleType, flag: str) -> None:
    words = refused(command, [*BELL, flag, "few-shot"])
    assert "no few-shot checkpoint is shipped for click_bell" in words


def test_no_shipped_checkpoint_says_how_to_make_one(refused: Refused) -> None:
    assert "python -m aim_rl.finetune --task click_bell" in refused(evaluate, BELL)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("nowhere", "nowhere does not exist"),
        ("empty", "python -m aim_rl.collect"),
        ("broken", "episode_0000000.hdf5 is truncated"),
    ],
)
def test_a_dataset_that_is_none(refused: Refused, data: str, expected: str) -> None:
    assert expected in refused(pretrain, [*BELL, "--data", data, "--out", "run"])


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (collect, ["--out", "file"]),
        (collect, ["--out", "file/data"]),
        (finetune, ["--stage1", "good", "--out", "file/run"]),
        (evaluate, ["--checkpoint", "good", "--json", "file/result.json"]),
        (evaluate, ["--checkpoint", "good", "--json", "empty"]),
        (evaluate, ["--checkpoint", "good", "--video", "file"]),
        (evaluate, ["--checkpoint", "good", "--record", "file"]),
        (evaluate, ["--checkpoint", "good", "--record", "file/recorded"]),
    ],
)
def test_an_output_that_cannot_be_written(refused: Refused, command: ModuleType, arguments: list[str]) -> None:
    words = refused(command, [*BELL, *arguments])
    assert "cannot write" in words and arguments[-1] in words


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (collect, ["--out", "new", "--episodes", "0"]),
        (collect, ["--out", "new", "--workers", "0"]),
        (pretrain, ["--data", "empty", "--steps", "0"]),
        (finetune, ["--stage1", "good", "--iterations", "0"]),
        (finetune, ["--stage1", "good", "--evaluation-episodes", "0"]),
        (finetune, ["--stage1", "good", "--rollout.group-size", "1"]),
        (finetune, ["--stage1", "good", "--workers", "0"]),
        (finetune, ["--stage1", "good", "--rollout.envs-per-worker", "0"]),
        (finetune, ["--stage1", "good", "--rl.minibatch", "0"]),
        (evaluate, ["--checkpoint", "good", "--episodes", "0"]),
        (evaluate, ["--checkpoint", "good", "--seed", "-1"]),
    ],
)
def test_counts_that_make_no_sense(refused: Refused, command: ModuleType, arguments: list[str]) -> None:
    assert "at least" in refused(command, [*BELL, *arguments])


def test_stage2_does_not_reach_the_scenes_of_evaluation(refused: Refused) -> None:
    assert "at most" in refused(finetune, [*BELL, "--stage1", "good", "--iterations", "100000"])


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        ("--learning-rate", {"learning_rate": -1.0}),
        ("--weight-decay", {"weight_decay": -1.0}),
        ("--ema", {"ema": 1.5}),
        ("--seed", {"seed": 2**23}),
        ("--seed", {"seed": -1}),
    ],
)
def test_numbers_that_stage_one_cannot_train_with(flag: str, changes: dict[str, float]) -> None:
    config = PretrainConfig(task="click_bell", data=Path("data"), seed=2**23 - 1)
    with pytest.raises(UserError, match=flag):
        replace(config, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        ("--seed", {"seed": 2**23}),
        ("--save-every", {"save_every": 0}),
        ("every other count", {"rollout.step_limit": 0}),
        ("--exploration.noise-level", {"exploration.noise_level": 0.0}),
        ("--rl.critic-steps", {"rl.critic_steps": 0}),
        ("--rl.learning-rate", {"rl.learning_rate": -1.0}),
        ("--rl.std-floor", {"rl.std_floor": 0.0}),
        ("--rl.max-gradient", {"rl.max_gradient": -1.0}),
        ("--rl.clip-low", {"rl.clip_low": 1.0}),
        ("--rl.clip-high", {"rl.clip_high": 0.0}),
        ("--rl.gamma", {"rl.gamma": 1.1}),
        ("--rl.gae-lambda", {"rl.gae_lambda": -0.1}),
    ],
)
def test_numbers_that_stage_two_cannot_train_with(flag: str, changes: dict[str, Any]) -> None:
    config = finetune.FinetuneConfig(task="click_bell")
    for name, value in changes.items():
        section, _, leaf = name.rpartition(".")
        with pytest.raises(UserError, match=flag):
            replace(getattr(config, section) if section else config, **{leaf: value})


def test_a_stage1_that_stage_two_cannot_train(refused: Refused, tiny_model: AIM) -> None:
    """Before the run's folder is made."""
    blind = AIM(replace(tiny_model.preset, keypoints=0))
    checkpoint.save_checkpoint(Path("blind"), blind, {"task": "click_bell", "stage": 1})
    assert "--rl.advantage group" in refused(finetune, [*BELL, "--stage1", "blind"])


def test_version_01_flags_and_runs_of_stage_two_keep_working(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--group", "4", "--groups=16", "--scenes", "3", "--grpo.advantage", "group", "--grpo.std_floor", "0.2"]
    flags += ["--lambda-dense", "0.5", "--shaping", "additive", "--noise-level", "0.1", "--no-anneal"]
    config = finetune.parse_flags(None, [*BELL, *flags])
    said = capsys.readouterr().err
    assert "--groups is now --rollout.num-groups; the old name will go" in said and said.count("\n") == 9
    expected = finetune.FinetuneConfig(
        task="click_bell",
        rollout=RolloutOptions(group_size=4, num_groups=16, envs_per_worker=3),
        exploration=ExplorationConfig(noise_level=0.1),
        reward=RewardOptions(shaping="additive", lambda_dense=0.5),
        rl=PpoConfig(advantage="group", std_floor=0.2),
    )
    assert config == expected
    run = workplace / "old_run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(VERSION_01))
    resumed = finetune.parse_flags(None, ["--resume", str(run)])
    assert resumed == replace(expected, iterations=4, out=Path("old"), resume=run)
    assert capsys.readouterr().err == ""


VERSION_01 = {
    "command": ["finetune"],
    "task": "click_bell",
    "stage1": None,
    "wan": None,
    "out": "old",
    "resume": None,
    "setting": "clean",
    "iterations": 4,
    "group": 4,
    "groups": 16,
    "step_limit": 144,
    "sampler": "initial_noise",
    "noise_level": 0.1,
    "shaping": "additive",
    "maps": "refreshed",
    "anneal": False,
    "lambda_dense": 0.5,
    "lambda_sparse": 1.0,
    "train_world": False,
    "grpo": {
        "learning_rate": 2.5e-05,
        "epochs": 3,
        "minibatch": 512,
        "clip_low": 0.2,
        "clip_high": 0.28,
        "gamma": 0.9,
        "advantage": "group",
        "gae_lambda": 0.7,
        "std_floor": 0.2,
        "dense_weight": None,
        "max_gradient": 1.0,
    },
    "evaluation_episodes": 100,
    "measure_stage1": True,
    "seed": 0,
    "workers": 2,
    "scenes": 3,
    "simulator": {"backend": "tabletop", "robotwin_root": None, "robotwin_python": None},
}


def test_a_seed_that_no_scene_has(refused: Refused) -> None:
    assert "31 bits" in refused(evaluate, [*BELL, "--checkpoint", "good", "--seed", "2147483648"])


@pytest.mark.parametrize(
    ("task", "arguments", "expected"),
    [
        ("click_bell", ["--rl.dense-weight", "0.5"], "--rl.advantage"),
        (
            "click_bell",
            ["--reward.anneal", "--rl.dense-weight", "0.5", "--rl.advantage", "group"],
            "without --reward.anneal",
        ),
        ("beat_block_hammer", ["--reward.shaping", "privileged"], "beat_block_hammer measures no progress"),
        ("click_bell", ["--reward.maps", "other_scene", "--rollout.num-groups", "1"], "--rollout.num-groups 2"),
    ],
)
def test_a_reward_that_cannot_be_paid(refused: Refused, task: str, arguments: list[str], expected: str) -> None:
    assert expected in refused(finetune, ["--task", task, *arguments])


def test_an_unknown_preset_names_the_known(refused: Refused) -> None:
    assert "tiny, small" in refused(pretrain, [*BELL, "--data", "empty", "--preset", "huge"])


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(collect, ["--out", "new"]), (finetune, ["--stage1", "good"]), (evaluate, ["--checkpoint", "good"])],
    ids=lambda value: value.__name__ if isinstance(value, ModuleType) else "",
)
def test_a_backend_that_is_half_named(refused: Refused, command: ModuleType, arguments: list[str]) -> None:
    assert "--robotwin-root" in refused(command, [*BELL, *arguments, "--backend", "robotwin"])
    assert "go with --backend robotwin" in refused(command, [*BELL, *arguments, "--robotwin-root", "empty"])
    flags = ["--backend", "robotwin", "--robotwin-root", "empty", "--robotwin-python", sys.executable]
    assert "is no RoboTwin checkout" in refused(command, [*BELL, *arguments, *flags])

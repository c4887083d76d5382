"""The page about a run: what it shows, what it says is missing, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard.writer import SummaryWriter

from aim_rl.report import write_report
from aim_rl.rl.config import FinetuneConfig
from aim_rl.runs.dashboard import add_animation
from aim_rl.runs.folder import new_run
from aim_rl.runs.statistics import compare_pairs, success_rate
from aim_rl.supervised.config import PretrainConfig
from envs.errors import UserError
from envs.files import write_json


@pytest.fixture
def stage2(tmp_path: Path) -> Path:
    """A run of Stage II in its third of five iterations."""
    run = new_run("click_bell", tmp_path / "my run", FinetuneConfig(task="click_bell", iterations=5))
    write_json(run / "stage1.json", {**success_rate(71, 100)})
    writer = SummaryWriter(run / "tensorboard")
    for step, success in ((100, 0.5), (200, 0.75), (300, 1.0)):
        for tag, value in (("", success), ("_ci_low", success - 0.2), ("_ci_high", success)):
            writer.add_scalar(f"stage2/success{tag}", value, step)
        for tag in ("success", "failure"):
            for _ in range(2):  # more than six in all
                add_animation(writer, f"rollout/{tag}", [np.full((4, 6, 3), step % 256, np.uint8)] * 2, step)
    writer.close()
    return run


def finish(run: Path) -> None:
    counts = {"environment_steps": 500, "minutes": 1.5, "validation": compare_pairs([True, False], [True, True])}
    write_json(run / "result.json", {"stage1": success_rate(71, 100), "stage2": success_rate(81, 100), **counts})


def words(run: Path) -> str:
    write_report(run, run / "report.html")
    return (run / "report.html").read_text()


def test_a_finished_run(stage2: Path) -> None:
    finish(stage2)
    page = words(stage2)
    assert "Not on this page" not in page
    assert "71.0 % (61.5 .. 79.0, n = 100)" in page and "81.0 % (72.2 .. 87.5, n = 100)" in page and "1 gained" in page
    assert page.count("data:image/gif;base64,") == 6 and page.count("environment step 300<") == 4
    assert page.count("<polyline") == 1 and page.count("<polygon") == 1
    assert "<td>rl.gamma</td><td>0.9</td>" in page and "<td>commit</td>" in page


def test_it_needs_no_network(stage2: Path) -> None:
    sources = re.findall(r'(?:src|href)="([^"]*)"', words(stage2))
    assert sources and all(source.startswith("data:") for source in sources)
    assert "<script" not in words(stage2) and "@import" not in words(stage2)


def test_an_unfinished_run_says_what_is_missing_in_one_sentence(stage2: Path) -> None:
    page = words(stage2)
    said = "Not on this page: the final result, because 3 of 5 iterations are done (`python -m aim_rl.finetune --resume"
    assert said in page and "my run&#x27;` goes on)." in page
    assert "<td>exploring, last iteration</td><td>100.0 %</td>" in page and "Stage I, held-out scenes" in page


def test_a_run_that_has_just_begun_and_an_old_one(tmp_path: Path) -> None:
    run = new_run("click_bell", tmp_path / "run", PretrainConfig(task="click_bell", data=Path("D"), steps=9))
    assert "because 0 of 9 steps are done" in words(run) and "the curves, because nothing is logged yet" in words(run)
    config = json.loads((run / "config.json").read_text())
    del config["environment"]
    write_json(run / "config.json", config)
    assert "machine and commit, which runs of older versions do not record" in words(run)


def test_what_a_resumed_run_changed(stage2: Path) -> None:
    config = json.loads((stage2 / "config.json").read_text())
    changed = {"rl.learning_rate": [1e-4, 1e-5]}
    config["history"] = [{"time": "2026-01-02 03:04:05", "step": 2, "command": [], "changed": changed}]
    write_json(stage2 / "config.json", config)
    assert "<td>after step 2</td><td>rl.learning_rate</td><td>0.0001 -&gt; 1e-05</td>" in words(stage2)


def test_recorded_videos_come_first(stage2: Path) -> None:
    for number in range(7):
        (stage2 / "videos").mkdir(exist_ok=True)
        (stage2 / "videos" / f"click_bell-{number}.mp4").write_bytes(b"a video")
    page = words(stage2)
    assert page.count("<video") == 6 and "data:image" not in page


def test_words_of_a_foreign_run_stay_words(stage2: Path) -> None:
    config = json.loads((stage2 / "config.json").read_text())
    config |= {"task": "<script>alert(1)</script>", "setting": {"<img>": ["<b>"]}, "environment": {"<i>": "<u>"}}
    config["command"] = ["<a>"]
    write_json(stage2 / "config.json", config)
    page = words(stage2)
    assert "&lt;script&gt;" in page
    assert not [tag for tag in ("<script", "<img>", "<b>", "<i>", "<u>", "<a>") if tag in page]


def test_a_foreign_link_is_not_followed_into_the_page(stage2: Path) -> None:
    (stage2.parent / "secret").write_text("mine")
    (stage2 / "videos").mkdir()
    (stage2 / "videos" / "a.mp4").symlink_to(stage2.parent / "secret")
    with pytest.raises(UserError, match=r"a\.mp4 is a link"):
        words(stage2)


def test_a_curve_that_is_cut_off_is_drawn_as_far_as_it_goes(stage2: Path) -> None:
    (file,) = (stage2 / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert "<polyline" in words(stage2)


def test_numbers_that_are_not_finite_are_left_out(stage2: Path) -> None:
    writer = SummaryWriter(stage2 / "tensorboard")
    for step in (1, 2):
        writer.add_scalar("stage2/update/kl_to_stage1", float("nan"), step)
    writer.close()
    assert "NaN" not in words(stage2) and "nan," not in words(stage2)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"config.json": {"command": [], "episodes": 3}}, "is not a run of pretrain or finetune"),
        ({"config.json": [1]}, "is not a run of pretrain or finetune"),
        ({"config.json": {"iterations": 5, "stage1": None}}, r"is damaged \(KeyError"),
        ({"stage1.json": {"success_rate": 0.5}}, r"is damaged \(KeyError"),
        ({"result.json": [1]}, r"is damaged \(TypeError"),
    ],
)
def test_a_folder_that_is_no_run_or_damaged(stage2: Path, damage: dict[str, Any], said: str) -> None:
    for name, value in damage.items():
        (stage2 / name).write_text(json.dumps(value))
    with pytest.raises(UserError, match=said):
        words(stage2)
    with pytest.raises(UserError, match=r"it has no config\.json"):
        write_report(stage2 / "tensorboard", stage2 / "report.html")
    assert not (stage2 / "report.html").exists()

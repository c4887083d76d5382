"""Checkpoints: what is written comes back, and what cannot be used ends in one sentence."""

from __future__ import annotations

import ast
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import aim_rl
from aim_rl.model import AIM, PRESETS
from aim_rl.model.checkpoint import load_checkpoint, resolve_checkpoint, save_checkpoint
from aim_rl.model.pretrained import read_metadata
from envs.errors import UserError

CARD = {"task": "click_bell", "stage": 1, "minutes": 3.5}
FILES = ["checkpoint/README.md", "checkpoint/config.json", "checkpoint/model.safetensors"]


@pytest.fixture
def saved(tmp_path: Path, tiny_model: AIM) -> Path:
    save_checkpoint(tmp_path / "run" / "checkpoint", tiny_model, CARD)
    return tmp_path / "run" / "checkpoint"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_weights_come_back_bit_equal(saved: Path, tiny_model: AIM) -> None:
    for path in (saved, saved.parent):  # a checkpoint's folder, or the run's
        model, metadata = load_checkpoint(path, "click_bell")
        assert model.preset == tiny_model.preset
        assert metadata["task"] == "click_bell" and metadata["minutes"] == 3.5
        assert not model.training
        for name, tensor in tiny_model.state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor), name
    assert sorted(contents(saved.parent)) == FILES


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    saved: Path, name: str, closed: Callable[..., AbstractContextManager[None]]
) -> None:
    with closed(saved / name), pytest.raises(UserError, match=f"{name} cannot be read: Permission denied$"):
        load_checkpoint(saved)


def test_half_precision_loads_as_single(saved: Path, tiny_model: AIM) -> None:
    """Shipped checkpoints hold 16-bit weights."""
    file = saved / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    model, _ = load_checkpoint(saved)
    for name, tensor in tiny_model.state_dict().items():
        assert model.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_flag_names_a_folder_the_shipped_checkpoint_or_the_few_shot_one() -> None:
    shipped, few_shot = (resolve_checkpoint("stack_blocks_two", path) for path in (None, Path("few-shot")))
    assert shipped is not None and few_shot is not None and shipped != few_shot
    for path in (shipped, few_shot):
        assert read_metadata(path, "stack_blocks_two")["stage"] == 1
    assert resolve_checkpoint("click_bell", None) is None
    assert resolve_checkpoint("click_bell", Path("runs/mine")) == Path("runs/mine")


def test_metadata_is_read_without_the_weights(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"")
    for path in (saved, saved.parent):
        assert read_metadata(path)["minutes"] == 3.5
    with pytest.raises(UserError, match="was trained for click_bell, not for turn_switch"):
        read_metadata(saved, "turn_switch")


def set_config(directory: Path, **changes: object) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | changes))


def make_nan(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, directory / "model.safetensors")


def truncate(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def widen(directory: Path) -> None:
    preset = json.loads((directory / "config.json").read_text())["preset"]
    set_config(directory, preset=preset | {"width_a": 2 * preset["width_a"]})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: (d / "model.safetensors").unlink(), "holds no checkpoint"),
        (lambda d: (d / "config.json").write_text("{"), "cannot be read"),
        (
            lambda d: (d / "config.json").write_text('{"_class_name": "WanTransformer3DModel"}'),
            "is not a checkpoint of",
        ),
        (lambda d: set_config(d, preset={"name": "giant"}), "cannot build"),
        (lambda d: set_config(d, preset=[1, 2]), "cannot build"),
        (widen, "another size"),
        (truncate, "is damaged"),
        (lambda d: (d / "model.safetensors").write_bytes(b"not safetensors"), "is damaged"),
        (make_nan, "NaN or infinity"),
    ],
    ids=["no weights", "bad json", "foreign", "unknown preset", "no preset", "size", "truncated", "garbage", "nan"],
)
def test_what_cannot_be_used_is_named(saved: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(saved)
    with pytest.raises(UserError, match=words) as caught:
        load_checkpoint(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_wrong_task(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"checkpoint was trained for click_bell, not for stack_blocks_two"):
        load_checkpoint(saved, "stack_blocks_two")


def test_a_disk_that_fills_up_leaves_the_old_checkpoint(saved: Path) -> None:
    before = contents(saved.parent)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the file system refuses to grow the file
    try:
        with pytest.raises(UserError, match="cannot write the checkpoint"):
            save_checkpoint(saved, AIM(PRESETS["tiny"]), CARD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(saved.parent) == before


@pytest.mark.parametrize(
    ("failure", "ends"), [(OSError("Input/output error"), UserError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_move_that_fails_leaves_the_old_checkpoint(
    saved: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, ends: type[BaseException]
) -> None:
    before, rename = contents(saved.parent), Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise failure
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ends):
        save_checkpoint(saved, AIM(PRESETS["tiny"]), CARD)
    assert contents(saved.parent) == before


def test_a_new_checkpoint_replaces_the_old_one(saved: Path) -> None:
    torch.manual_seed(5)
    other = AIM(replace(PRESETS["tiny"], depth=1))
    save_checkpoint(saved, other, {"task": "click_bell", "stage": 2})
    model, metadata = load_checkpoint(saved)
    assert model.preset.depth == 1 and metadata["stage"] == 2 and "minutes" not in metadata
    assert len(contents(saved.parent)) == len(FILES)


@pytest.mark.parametrize("given", ["the checkpoint", "its run"])
def test_a_process_killed_between_the_two_moves_leaves_the_old_checkpoint(saved: Path, given: str) -> None:
    """The second move's process ends at once, as by SIGKILL: nothing tidies up after it."""
    killed = f"""
import os
from pathlib import Path
from aim_rl.model.checkpoint import load_checkpoint, save_checkpoint
saved, rename = Path({str(saved)!r}), Path.rename
Path.rename = lambda path, target: os._exit(9) if path.suffix == ".tmp" else rename(path, target)
save_checkpoint(saved, *load_checkpoint(saved))
"""
    assert subprocess.run([sys.executable, "-c", killed]).returncode == 9
    assert not saved.exists()
    model, metadata = load_checkpoint(saved if given == "the checkpoint" else saved.parent)
    assert metadata["task"] == CARD["task"]
    save_checkpoint(saved, model, metadata)
    assert sorted(contents(saved.parent)) == FILES


def test_output_below_a_file_is_refused(tmp_path: Path, tiny_model: AIM) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "file" / "checkpoint", tiny_model, CARD)
    assert (tmp_path / "file").read_text() == "in the way"


def test_no_pickle_is_ever_loaded() -> None:
    root = Path(aim_rl.__file__).parents[1]
    sources = [
        path for package in ("aim_rl", "envs", "rewards", "experiments") for path in (root / package).rglob("*.py")
    ]
    assert len(sources) > 40
    forbidden = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "msgpack_numpy"}
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not forbidden & {alias.name.split(".")[0] for alias in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in forbidden, path
                assert (node.module or "").split(".")[0] != "torch" or "load" not in {a.name for a in node.names}, path
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in (("torch", "load"), ("serialization", "load")), path
            elif isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", path

"""AIM as the Hugging Face Hub knows models: one folder for `from_pretrained` and for every command."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin

from aim_rl.model import AIM
from aim_rl.model.card import model_card
from aim_rl.model.checkpoint import SHIPPED, add_metadata, load_checkpoint, save_checkpoint
from aim_rl.model.pretrained import read_metadata
from envs.errors import UserError

METADATA = {
    "task": "click_bell",
    "stage": 2,
    "setting": "clean",
    "command": "python -m aim_rl.finetune --task click_bell",
    "trained_from": {"data": "demos", "command": "python -m aim_rl.pretrain --data 'a|b'"},
}
MEASURED = {"command": "python -m aim_rl.evaluate --task click_bell", "setting": "clean", "successes": 71}
MEASURED |= {"episodes": 100, "success_rate": 0.71, "ci_low": 0.6146, "ci_high": 0.7899}


def same(one: AIM, other: AIM) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_checkpoint_and_a_saved_model_are_the_same_folder(tmp_path: Path, tiny_model: AIM) -> None:
    save_checkpoint(tmp_path / "run" / "checkpoint", tiny_model, METADATA)
    model = AIM.from_pretrained(tmp_path / "run")
    assert isinstance(model, PyTorchModelHubMixin) and same(model, tiny_model) and not model.training
    assert model.preset == tiny_model.preset and model.metadata["stage"] == 2
    model.save_pretrained(tmp_path / "saved")
    ours, theirs = tmp_path / "run" / "checkpoint", tmp_path / "saved"
    for file in ("config.json", "README.md", "model.safetensors"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file
    again, metadata = load_checkpoint(tmp_path / "saved", "click_bell")
    assert same(again, tiny_model) and metadata == model.metadata


def test_saving_leaves_other_files_of_the_folder_alone(tmp_path: Path, tiny_model: AIM) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "README.md").write_text("# My own card\n")
    (tmp_path / "config.json").write_text("{}")
    tiny_model.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine" and (tmp_path / "README.md").read_text() == "# My own card\n"
    assert same(AIM.from_pretrained(str(tmp_path)), tiny_model)


def test_a_repository_of_the_hub_is_read_from_its_cache(tmp_path: Path, tiny_model: AIM) -> None:
    """As a download leaves it; nothing but the configuration and the weights is asked for."""
    commit = "0" * 40
    cached = tmp_path / "models--someone--bell"
    tiny_model.save_pretrained(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    model = AIM.from_pretrained("someone/bell", cache_dir=tmp_path, local_files_only=True)
    assert same(model, tiny_model)


def test_a_folder_that_is_no_model_ends_in_a_sentence(tmp_path: Path, tiny_model: AIM) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": 1}))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds no checkpoint \(config.json and model.safetensors\)"):
        AIM.from_pretrained(tmp_path)
    tiny_model.save_pretrained(tmp_path / "saved")
    for text, words in (("{", "cannot be read"), ('{"_class_name": "Other"}', "is not a checkpoint of aim_rl")):
        (tmp_path / "saved" / "config.json").write_text(text)
        with pytest.raises(UserError, match=words):
            AIM.from_pretrained(tmp_path / "saved")


def test_the_card_says_task_data_success_and_commands(tmp_path: Path, tiny_model: AIM) -> None:
    save_checkpoint(tmp_path, tiny_model, METADATA)
    assert "| success | not measured |" in (tmp_path / "README.md").read_text()
    add_metadata(tmp_path, {"measured": MEASURED})
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "aim_rl" and "robotics" in (card.data.tags or [])
    for row in (
        "| task | click_bell |",
        "| preset | tiny |",
        "| Stage I: data | demos |",
        "| Stage I: trained by | `python -m aim_rl.pretrain --data 'a\\|b'` |",
        "| trained by | `python -m aim_rl.finetune --task click_bell` |",
        "| success | 71 of 100 held-out scenes (clean), 95 % interval 61.5 .. 79.0 % |",
        "| measured by | `python -m aim_rl.evaluate --task click_bell` |",
    ):
        assert row in card.text, row
    assert read_metadata(tmp_path)["measured"] == MEASURED and same(AIM.from_pretrained(tmp_path), tiny_model)


@pytest.mark.parametrize("directory", sorted(path.parent for path in SHIPPED.rglob("config.json")), ids=str)
def test_the_shipped_cards_are_those_of_their_metadata(directory: Path) -> None:
    assert (directory / "README.md").read_text() == model_card(read_metadata(directory))


@pytest.mark.parametrize("value", [None, 3, "x", [1, {"a": 2}], {"b": [None]}])
def test_a_strangers_metadata_still_makes_a_card(tmp_path: Path, tiny_model: AIM, value: object) -> None:
    keys = ("task", "tasks", "stage", "data", "steps", "command", "measured", "trained_from")
    save_checkpoint(tmp_path / "a", tiny_model, dict.fromkeys(keys, value))
    AIM.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert json.loads((tmp_path / "b" / "config.json").read_text())["data"] == value
    shutil.rmtree(tmp_path / "b")

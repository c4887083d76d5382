"""Stage I from Wan2.2's own files, through the command: `pretrain --preset wan2.2-5b --wan DIR`, at toy widths."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tensordict import TensorDict

from aim_rl import evaluate, finetune, pretrain, serve
from aim_rl.data.files import episode_path, write_episode
from aim_rl.model import PRESETS, load_wan
from aim_rl.model.checkpoint import load_checkpoint, save_checkpoint
from aim_rl.rl.policy import OBSERVATION, AimPolicy
from envs import backend
from envs.errors import UserError, exit_cleanly

from .data.conftest import episode_of
from .model import wan_files
from .test_end_to_end import command

REMEMBERS = {"history": 2, "history_noise": 0.5}


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wan_files.save(tmp_path_factory.mktemp("wan"), "60KB")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full size's preset with toy widths, and all else of it: history, times per frame, 32 waypoints."""
    monkeypatch.setitem(PRESETS, "wan2.2-5b", replace(wan_files.TOY, **REMEMBERS))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    for number, frames in enumerate((72, 24)):
        episode = replace(episode_of(frames, (64, 128), (32, 64), seed=number), instructions=["stack the red block"])
        if number == 1:  # held out: four chunks are enough, Wan's VAE is slow
            episode.perturbed[:20] = True
        write_episode(episode_path(folder, number), episode)
    return folder


@pytest.mark.slow  # Wan's VAE, a minute and more of CPU
@pytest.mark.usefixtures("toy")
def test_pretrain_starts_from_wans_folder_and_its_checkpoint_acts(wan: Path, data: Path, tmp_path: Path) -> None:
    run, preset = tmp_path / "run", PRESETS["wan2.2-5b"]
    arguments = ["--preset", "wan2.2-5b", "--data", data, "--out", run, "--steps", 1, "--batch-size", 4]
    command(pretrain, *arguments, "--micro-batch", 2, "--wan", wan, "--recompute", task="stack_blocks_two")
    metadata = json.loads((run / "checkpoint" / "config.json").read_text())
    assert metadata["wan"] == str(wan) and metadata["held_out"]["loss"] > 0
    model, _ = load_checkpoint(run)
    start = wan_files.transformer().state_dict()["blocks.1.ffn.net.2.weight"]
    moved = (model.x.block(1).ff[2].weight - start).abs().max()  # one step of 1e-3 from Wan's weight, and its average
    assert 0 < moved < 0.01
    tokens = model.text.tokenize("stack the red block")
    assert tokens[:5].tolist() == [3, 4, 5, 6, 1]

    policy = AimPolicy(model, preset.execute)
    frame = episode_of(2, (64, 128), (32, 64))
    observation = {key: torch.from_numpy(getattr(frame, key)) for key in OBSERVATION}
    for decision in range(2):
        number = torch.full((2, 1), decision)
        acted = policy(TensorDict(observation | {"text": tokens.expand(2, -1), "decision": number}, [2]))
        assert acted["action"].shape == (2, 32, 16) and torch.isfinite(acted["action"]).all()
        n = preset.history * preset.n_past + preset.n_obs + preset.n_future
        assert acted["context_kv"].shape == (2, preset.depth, 2, preset.heads, n, preset.head_dim)
        assert acted["context_exists"][:, : preset.history * preset.n_past].float().mean() == decision / preset.history


def test_a_checkpoint_names_wans_folder_whichever_stage_wrote_it(wan: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "stage1", load_wan(wan, wan_files.TOY), {"task": "click_bell", "stage": 1})
    model, _ = load_checkpoint(tmp_path / "stage1")
    save_checkpoint(tmp_path / "stage2", model, {"task": "click_bell", "stage": 2})
    again, metadata = load_checkpoint(tmp_path / "stage2")
    assert metadata["wan"] == str(wan)
    ids = again.text.tokenize("ring the bell")[None]
    assert torch.equal(again.text(ids), model.text(ids)) and again.text is not model.text


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (evaluate, ["--task", "click_bell", "--checkpoint"]),
        (finetune, ["--task", "click_bell", "--stage1"]),
        (serve, ["--checkpoint"]),
    ],
)
def test_a_checkpoint_from_another_machine_is_told_where_wan_is(
    module: ModuleType,
    arguments: list[str],
    wan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(backend, "require_rendering", lambda: None)
    there, here = Path(shutil.copytree(wan, tmp_path / "there")), tmp_path / "here"
    save_checkpoint(tmp_path / "run", load_wan(there, wan_files.TOY), {"task": "click_bell"})
    there.rename(here)

    def refused(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments, str(tmp_path / "run"), *more])
        with pytest.raises(SystemExit):
            exit_cleanly(module.main)
        return capsys.readouterr().err

    assert f"{there}/vae/config.json cannot be read" in (words := refused()) and "with --wan DIR" in words
    assert "elsewhere/vae/config.json cannot be read" in refused("--wan", str(tmp_path / "elsewhere"))
    assert load_checkpoint(tmp_path / "run", wan=here)[0].wan == here
    metadata = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({key: metadata[key] for key in metadata if key != "wan"}))
    assert "give its folder with --wan DIR" in refused()


@pytest.mark.usefixtures("toy")
def test_without_wans_folder_it_says_what_is_missing(wan: Path, data: Path, tmp_path: Path) -> None:
    config = pretrain.PretrainConfig(task="stack_blocks_two", data=data, out=tmp_path / "run", preset="wan2.2-5b")
    with pytest.raises(UserError, match="give its folder with --wan DIR"):
        pretrain.pretrain(config)
    with pytest.raises(UserError, match="tokenizer cannot be read"):
        pretrain.pretrain(replace(config, wan=tmp_path))
    with pytest.raises(UserError, match="tiny starts from random weights"):
        pretrain.pretrain(replace(config, wan=wan, preset="tiny"))
    assert not (tmp_path / "run").exists()
    broken = Path(shutil.copytree(wan, tmp_path / "broken"))
    shutil.rmtree(broken / "transformer")
    with pytest.raises(UserError, match="completely downloaded"):
        pretrain.pretrain(replace(config, wan=broken))

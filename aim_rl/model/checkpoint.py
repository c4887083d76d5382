"""Checkpoints of runs and shipped ones: written in one step, found by a flag, read by a command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aim_rl.model import AIM
from aim_rl.model.card import model_card
from aim_rl.model.pretrained import CARD, CONFIG, WEIGHTS, checkpoint_directory, read_metadata, write_weights
from envs.errors import UserError
from envs.files import atomic_file, atomic_folder, write_json

SHIPPED = Path(__file__).parents[1] / "checkpoints"
FEW_SHOT = Path("few-shot")


def save_checkpoint(directory: Path, model: AIM, metadata: dict[str, Any], write: bool = True) -> None:
    """Writes a checkpoint so that `directory` is either the old one or the new one, never a mixture.

    Args:
        directory: of the checkpoint.
        model: its parameters and normalisers are written.
        metadata: JSON values about the training: task (and `tasks` if there were several), stage, seeds, measured
            success. The folder of the pretrained parts is added as `wan`.
        write: false in all but one of the processes that share a sharded model; they only contribute their shards.

    Raises:
        UserError: the directory cannot be written.
    """
    weights, config = model.weights(), model.config(metadata)
    if not write:
        return
    with atomic_folder(directory, "the checkpoint") as aside:
        write_weights(aside / WEIGHTS, weights)
        (aside / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        (aside / CARD).write_text(model_card(config))


def add_metadata(directory: Path, more: Mapping[str, Any]) -> None:
    """Adds to the metadata of a checkpoint, and to its model card.

    Raises:
        UserError: as `read_metadata`, or a file cannot be written.
    """
    config = read_metadata(directory) | dict(more)
    write_json(checkpoint_directory(directory) / CONFIG, config)
    with atomic_file(checkpoint_directory(directory) / CARD) as aside:
        aside.write_text(model_card(config))


def resolve_checkpoint(task: str, path: Path | None) -> Path | None:
    """The checkpoint that a flag names: None is the one shipped for `task`, None too if there is none.

    `few-shot` is a shipped Stage I of few demonstrations and few steps, for studies of reinforcement learning. A folder
    of that name needs its absolute path.

    Raises:
        UserError: there is no few-shot checkpoint for the task.
    """
    if path is not None and path != FEW_SHOT:
        return path
    directory = SHIPPED / (path or "") / task
    if (directory / "model.safetensors").is_file():
        return directory
    if path is None:
        return None
    raise UserError(f"no few-shot checkpoint is shipped for {task}; give the folder of another one")


def load_checkpoint(path: Path, task: str | None = None, wan: Path | None = None) -> tuple[AIM, dict[str, Any]]:
    """Reads a checkpoint: the model in float32 and eval mode, and its metadata.

    Args:
        path: folder of a checkpoint or a run.
        task: if given, a task that the checkpoint must be trained for.
        wan: folder of Wan2.2, if it is not where the metadata says.

    Raises:
        UserError: as `read_metadata`; the weights do not fit the config; or a folder of Wan2.2 is needed and missing.
    """
    read_metadata(path, task)
    model = AIM.load(path, wan)
    return model, model.metadata

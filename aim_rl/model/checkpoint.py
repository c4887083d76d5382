"""Checkpoints: a directory with `config.json` and `model.safetensors` (diffusers' convention). No pickle."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from aim_rl.model import AIM, load_frozen
from aim_rl.model.aim import rename_old_tensors
from aim_rl.model.presets import Preset
from aim_rl.model.wan import missing
from envs.errors import UserError
from envs.files import atomic_folder, folder_before

FORMAT = "aim_rl.checkpoint/1"
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
    weights = {name: _whole(tensor).cpu().contiguous() for name, tensor in model.state_dict().items()}
    if not write:
        return
    config = {"format": FORMAT, "preset": dataclasses.asdict(model.preset), **metadata}
    if model.wan is not None:
        config["wan"] = str(model.wan)
    with atomic_folder(directory, "the checkpoint") as aside:
        try:
            save_file(weights, aside / "model.safetensors")
        except SafetensorError as error:  # also of a full disk
            raise OSError(str(error)) from error
        (aside / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def checkpoint_directory(path: Path) -> Path:
    """The checkpoint at `path`: the folder itself, or the checkpoint inside a run's folder.

    Raises:
        UserError: there is no checkpoint at `path`.
    """
    path = Path(path)
    inside = path / "checkpoint"
    # A process killed while it replaced a checkpoint leaves the previous one under `folder_before`.
    for candidate in (path, folder_before(path), inside, folder_before(inside)):
        if (candidate / "config.json").is_file() and (candidate / "model.safetensors").is_file():
            return candidate
    what = "is a file, not a folder" if path.is_file() else "does not exist"
    if path.is_dir():
        what = "holds no checkpoint (config.json and model.safetensors)"
    raise UserError(f"{path} {what}; give the folder of a run or of a checkpoint, or leave the flag out")


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


def read_metadata(path: Path, task: str | None = None) -> dict[str, Any]:
    """The metadata of a checkpoint (its config.json), without its weights.

    Args:
        path: folder of a checkpoint or a run.
        task: if given, a task that the checkpoint must be trained for.

    Raises:
        UserError: there is no checkpoint, it is not one of aim_rl, or it was trained for other tasks.
    """
    directory = checkpoint_directory(path)
    try:
        metadata = json.loads((directory / "config.json").read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{directory}/config.json cannot be read ({error}); the checkpoint is damaged") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(f"{directory} is not a checkpoint of aim_rl; make one with `python -m aim_rl.pretrain`")
    trained_for = tasks_of(metadata)
    if task is not None and task not in trained_for:
        raise UserError(
            f"{directory} was trained for {', '.join(trained_for)}, not for {task}; choose another checkpoint"
        )
    return metadata


def load_checkpoint(path: Path, task: str | None = None, wan: Path | None = None) -> tuple[AIM, dict[str, Any]]:
    """Reads a checkpoint: the model in float32 and eval mode, and its metadata.

    Args:
        path: folder of a checkpoint or a run.
        task: if given, a task that the checkpoint must be trained for.
        wan: folder of Wan2.2, if it is not where the metadata says.

    Raises:
        UserError: as `read_metadata`; the weights do not fit the config; or a folder of Wan2.2 is needed and missing.
    """
    metadata = read_metadata(path, task)
    directory = checkpoint_directory(path)
    preset, expected = _preset(metadata.get("preset"), directory)
    wan = wan or (Path(str(metadata["wan"])) if metadata.get("wan") is not None else None)
    if wan is None and preset.text != "words":
        raise missing(preset)
    weights = _read_weights(directory, expected)  # first: a config may describe a model that does not fit in memory
    model = AIM(preset)
    model.load_state_dict(weights)
    if wan is not None:
        load_frozen(model, wan)
    return model.eval(), metadata


def read_preset(path: Path) -> Preset:
    """The preset of the model in a checkpoint, without its weights. Raises UserError as `read_metadata`."""
    return _preset(read_metadata(path).get("preset"), checkpoint_directory(path))[0]


def _read_weights(directory: Path, expected: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors of a checkpoint in float32. Raises UserError: they are damaged, not finite or unexpected."""
    try:
        with safe_open(directory / "model.safetensors", "pt") as file:
            found = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        rename_old_tensors(found)
        weights = load_file(directory / "model.safetensors") if found == expected else {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{directory}/model.safetensors is damaged ({error}); copy or train it again") from error
    if found != expected:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise UserError(
            f"{directory} holds a model of another size than its config.json says ({len(wrong)} tensors differ, "
            f"first {wrong[0]}: {tuple(found.get(wrong[0], ()))} instead of {tuple(expected.get(wrong[0], ()))})"
        )
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise UserError(f"{directory}/model.safetensors holds NaN or infinity; take an earlier checkpoint")
    return {name: tensor.float() for name, tensor in weights.items()}


def tasks_of(metadata: dict[str, Any]) -> list[str]:
    """Names of the tasks that a checkpoint was trained for."""
    tasks = metadata.get("tasks", [metadata.get("task")])
    return [str(name) for name in tasks] if isinstance(tasks, list) else [str(tasks)]


def _preset(fields: Any, directory: Path) -> tuple[Preset, dict[str, torch.Size]]:
    """The preset in a checkpoint's metadata, and the shapes of its model's tensors by name."""
    try:
        sizes: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
        preset = Preset(**sizes)
        return preset, _shapes(preset)
    # Sizes that are valid one by one may still make no model, and torch raises many kinds of errors.
    except (TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, LookupError) as error:
        words = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{directory}/config.json describes a model this version cannot build: {words[0]}") from error


@functools.cache
def _shapes(preset: Preset) -> dict[str, torch.Size]:
    """Shapes of a model's tensors by name, without allocating them."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in AIM(preset).state_dict().items()}

"""The folder of a model: config.json, model.safetensors and a model card, the layout of the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from aim_rl.model.card import model_card
from aim_rl.model.presets import Preset
from aim_rl.model.wan import WanText, WanTokenizer, missing
from envs.errors import UserError
from envs.files import atomic_file, folder_before, write_json

FORMAT = "aim_rl.checkpoint/1"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


class Pretrained(nn.Module, PyTorchModelHubMixin):
    """A model that is loaded from a folder or from the Hugging Face Hub, and saved there.

    `save_pretrained(folder)` and `push_to_hub(repo_id)` are the mixin's. Other files of the folder stay, also a model
    card that is there already.

    Attributes:
        preset: sizes.
        wan: folder of the pretrained parts that checkpoints do not hold.
        metadata: what the model's config.json says about its training.
    """

    preset: Preset
    wan: Path | None
    tokenizer: Any
    text: Any
    metadata: dict[str, Any]

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]  # the mixin's also takes any argument
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        wan: Path | None = None,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Self:
        """The model in float32 and eval mode.

        Args:
            pretrained_model_name_or_path: folder of a checkpoint or a run, or else the name of a repository of the
                Hub.
            wan: folder of Wan2.2, if it is not where the metadata says.
            force_download, token, cache_dir, local_files_only, revision: of the download (`snapshot_download`).

        Raises:
            UserError: there is no checkpoint or it is not one of aim_rl; the weights do not fit the config; or a
                folder of Wan2.2 is needed and missing.
        """
        path = Path(pretrained_model_name_or_path)
        if not path.exists() and not folder_before(path).exists():
            path = Path(
                snapshot_download(
                    str(pretrained_model_name_or_path),
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                    allow_patterns=[CONFIG, WEIGHTS],
                )
            )
        return cls.load(path, wan)

    @classmethod
    def load(cls, path: Path, wan: Path | None = None) -> Self:
        """As `from_pretrained`, of a folder."""
        metadata, directory = read_metadata(path), checkpoint_directory(path)
        with _buildable(directory):
            preset = _preset(metadata)
            expected = _shapes(cls, preset)
        wan = wan or (Path(str(metadata["wan"])) if metadata.get("wan") is not None else None)
        if wan is None and preset.text != "words":
            raise missing(preset)
        weights = _read_weights(directory, expected)  # first: a config may describe a model that does not fit in memory
        model = cast(Any, cls)(preset)
        model.load_state_dict(weights)
        if wan is not None:
            load_frozen(model, wan)
        model.metadata = metadata
        return model.eval()

    def weights(self) -> dict[str, Tensor]:
        """What `model.safetensors` holds, whole also where the model is sharded."""
        return {name: _whole(tensor).cpu().contiguous() for name, tensor in self.state_dict().items()}

    def config(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """What `config.json` holds: what builds the model, and the metadata."""
        own = {"format": FORMAT, "preset": dataclasses.asdict(self.preset)}
        if self.wan is not None:
            own["wan"] = str(self.wan)
        return {**own, **metadata, **own}

    def _save_pretrained(self, save_directory: Path) -> None:
        """Called by `save_pretrained`."""
        with atomic_file(save_directory / WEIGHTS) as aside:
            write_weights(aside, self.weights())
        write_json(save_directory / CONFIG, self.config(self.metadata))

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """Called by `save_pretrained`."""
        return ModelCard(model_card(self.config(self.metadata)))


def load_frozen(model: Pretrained, directory: Path) -> None:
    """Loads Wan's VAE and text encoder, which checkpoints do not hold.

    Raises:
        UserError: a part is missing, damaged or of another size than the preset's, or the extra `wan` is missing.
    """
    if not isinstance(model.tokenizer, WanTokenizer) or not isinstance(model.text, WanText):
        raise UserError(f"the preset {model.preset.name} has its own tokenizer; Wan2.2 fits the preset wan2.2-5b")
    model.tokenizer.load(directory)
    model.text.load(directory)
    model.wan = directory.absolute()


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Writes safetensors. Raises OSError, also where the disk is full."""
    try:
        save_file(weights, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def rename_old_tensors(tensors: dict[str, Any], prefix: str = "") -> None:
    """Renames, in place, the tensors of a state dict of version 0.1: `knots.*` became `waypoints.*` in 0.2."""
    for name in [name for name in tensors if name.startswith(f"{prefix}knots.")]:
        tensors[f"{prefix}waypoints.{name.removeprefix(f'{prefix}knots.')}"] = tensors.pop(name)


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
    except OSError as error:
        raise UserError(f"{directory}/config.json cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{directory}/config.json cannot be read ({error}); the checkpoint is damaged") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(f"{directory} is not a checkpoint of aim_rl; make one with `python -m aim_rl.pretrain`")
    trained_for = tasks_of(metadata)
    if task is not None and task not in trained_for:
        raise UserError(
            f"{directory} was trained for {', '.join(trained_for)}, not for {task}; choose another checkpoint"
        )
    return metadata


def read_preset(path: Path) -> Preset:
    """The preset of the model in a checkpoint, without its weights. Raises UserError as `read_metadata`."""
    metadata = read_metadata(path)
    with _buildable(checkpoint_directory(path)):
        return _preset(metadata)


def _read_weights(directory: Path, expected: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors of a checkpoint in float32. Raises UserError: they are damaged, not finite or unexpected."""
    try:
        (directory / WEIGHTS).open("rb").close()  # safetensors does not say that a file is not ours to read
    except OSError as error:
        raise UserError(f"{directory}/{WEIGHTS} cannot be read: {error.strerror}") from error
    try:
        with safe_open(directory / WEIGHTS, "pt") as file:
            found = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        rename_old_tensors(found)
        weights = load_file(directory / WEIGHTS) if found == expected else {}
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


@contextmanager
def _buildable(directory: Path) -> Iterator[None]:
    """Raises UserError if the block finds that a checkpoint's config describes no model."""
    try:
        yield
    # Sizes that are valid one by one may still make no model, and torch raises many kinds of errors.
    except (TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, LookupError) as error:
        words = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{directory}/config.json describes a model this version cannot build: {words[0]}") from error


def _preset(metadata: Mapping[str, Any]) -> Preset:
    fields: Any = metadata.get("preset")
    sizes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return Preset(**sizes)


@functools.cache
def _shapes(model_class: type[Pretrained], preset: Preset) -> dict[str, torch.Size]:
    """Shapes of a model's tensors by name, without allocating them."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in cast(Any, model_class)(preset).state_dict().items()}

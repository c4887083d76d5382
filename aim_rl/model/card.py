"""The model card of a checkpoint (its README.md), as the Hugging Face Hub shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import ModelCardData

STAGES = {1: "I, supervised on demonstrations", 2: "II, reinforcement learning from Stage I"}


def model_card(metadata: Mapping[str, Any]) -> str:
    """The text of a model card.

    Args:
        metadata: of a checkpoint (its config.json); what it does not say is left out.
    """
    tags = ["robotics", "RoboTwin", "world-action-model", "pytorch_model_hub_mixin", "model_hub_mixin"]
    header = ModelCardData(library_name="aim_rl", pipeline_tag="robotics", tags=tags).to_yaml()
    task = _text(metadata.get("task", "TASK"))
    rows = "\n".join(f"| {name} | {_text(value)} |" for name, value in _rows(metadata))
    return f"""---
{header}
---

# AIM: {task}

A world-action model (arXiv 2604.11135) of the package `aim_rl`: it predicts future RGB, value maps and the actions of
two arms.

| what | value |
|---|---|
{rows}

    from aim_rl.model import AIM
    model = AIM.from_pretrained(DIR)

    python -m aim_rl.evaluate --task {task} --checkpoint DIR
"""


def _rows(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    tasks, stage = metadata.get("tasks", [metadata.get("task")]), metadata.get("stage")
    yield "task", tasks
    yield "stage", STAGES.get(stage, stage) if isinstance(stage, int) else stage
    preset = metadata.get("preset")
    yield "preset", preset.get("name") if isinstance(preset, Mapping) else preset
    yield from _training(metadata)
    before = metadata.get("trained_from")
    if isinstance(before, Mapping):
        yield from ((f"Stage I: {name}", value) for name, value in _training(before))
    measured = metadata.get("measured")
    if isinstance(measured, Mapping):
        yield "success", _success(measured)
        yield "measured by", _code(measured.get("command"))
    else:
        yield "success", "not measured"


def _training(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What it was trained on and how."""
    for name, key in (
        ("setting", "setting"),
        ("data", "data"),
        ("demonstrations", "demonstrations"),
        ("seeds of the demonstrations", "data_seeds"),
        ("optimizer steps", "steps"),
        ("episodes", "episodes"),
        ("environment steps", "environment_steps"),
    ):
        if key in metadata:
            yield name, metadata[key]
    if metadata.get("command"):
        yield "trained by", _code(metadata["command"])


def _success(measured: Mapping[str, Any]) -> str:
    """`71 of 100 held-out scenes (clean), 95 % interval 61.5 .. 79.0 %`."""
    words = f"{measured.get('successes')} of {measured.get('episodes')} held-out scenes ({measured.get('setting')})"
    low, high = measured.get("ci_low"), measured.get("ci_high")
    if isinstance(low, float) and isinstance(high, float):
        words += f", 95 % interval {100 * low:.1f} .. {100 * high:.1f} %"
    return words


def _code(commands: Any) -> str:
    return ", then ".join(f"`{command}`" for command in (commands if isinstance(commands, list) else [commands]))


def _text(value: Any) -> str:
    """One line of a Markdown table."""
    words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(words.replace("|", "\\|").split())

"""What a resumed run changed, in its config.json and in TensorBoard: how its weights came about."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter

from aim_rl.runs.config import PROGRAMS, Renamed, load_config
from aim_rl.runs.environment import environment
from aim_rl.runs.state import last_step
from envs.files import read_json, write_json


def record_resume(run: Path, config: Any, renamed_keys: Renamed | None = None) -> None:
    """As `record_change` at the newest state of a run, and logs what changed to TensorBoard as a text."""
    step = last_step(run)
    changed = record_change(run, config, step, renamed_keys)
    if changed:
        writer = SummaryWriter(run / "tensorboard")
        lines = [f"- `{name}`: {old} -> {new}" for name, (old, new) in changed.items()]
        writer.add_text("settings changed", "\n".join(lines), step)
        writer.close()


def record_change(run: Path, config: Any, step: int, renamed_keys: Renamed | None = None) -> dict[str, tuple[Any, Any]]:
    """Writes the settings that a run is resumed with into its config.json, from where the next `--resume` takes them.

    What changed (settings, commit, packages, machine), when and at which step is appended to `history` there.

    Args:
        run: folder of the run, or of a dataset.
        config: the settings.
        step: that the run has reached; of a dataset, episodes.
        renamed_keys: as in `aim_rl.runs.config.parse`.

    Returns:
        Name -> value before and after of what changed.
    """
    file = run / "config.json"
    before, after = flat(load_config(type(config), run, renamed_keys)), flat(config)
    written, here = read_json(file), environment()
    known = {name: value for name, value in written.get("environment", {}).items() if name in here}
    before |= {f"environment.{name}": value for name, value in known.items()}
    after |= {f"environment.{name}": here[name] for name in known}
    changed = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
    if not changed:
        return {}
    entry = {"time": time.strftime("%Y-%m-%d %H:%M:%S"), "step": step, "command": sys.argv, "changed": changed}
    history = [*written.get("history", []), entry]
    settings = {**dataclasses.asdict(config), "resume": None}
    write_json(file, {"command": written["command"], **settings, "environment": here, "history": history})
    return changed


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted names and JSON values of the settings, without those that say where and by which program to run."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values |= flat(value, f"{prefix}{field.name}.")
        elif field.name not in ("resume", "out", *PROGRAMS):
            values[prefix + field.name] = str(value) if isinstance(value, Path) else value
    return values

"""Writes demonstrations in another format: `python -m aim_rl.export --data DIR --out DIR --format lerobot`.

LeRobot's format v3 is what LeRobot and the Rerun viewer read. `--data` takes every format that `pretrain` takes; an
episode is read, encoded and written before the next one is. docs/data.md says what is kept, and how.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aim_rl.data.files import common_fps, find_episodes, read_episode, read_header
from aim_rl.data.lerobot import DEFAULT_OPTIONS, LeRobotFlags
from aim_rl.data.lerobot_export import lerobot_writer
from aim_rl.runs.config import parse
from aim_rl.runs.progress import progress
from envs.errors import exit_cleanly


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Writes demonstrations in another format."""

    data: Path
    """Folder of episodes, as for `python -m aim_rl.pretrain`."""
    out: Path
    """New folder of the dataset."""
    format: Literal["lerobot"] = "lerobot"
    """LeRobot's format v3."""
    lerobot: LeRobotFlags = DEFAULT_OPTIONS


def export(config: ExportConfig) -> int:
    """Writes the dataset; returns how many episodes it has.

    Raises:
        UserError: an episode cannot be read, or the dataset not be written.
    """
    sources = find_episodes(config.data, config.lerobot)
    fps = common_fps(config.data, [read_header(source) for source in sources])
    with lerobot_writer(config.out, fps) as writer, progress("export", len(sources), "episodes") as bar:
        for source in sources:
            writer.add(read_episode(source))
            bar.update(writer.episodes)
    return len(sources)


def main() -> None:
    config = parse(ExportConfig, __doc__)
    print(f"{export(config)} episodes in {config.out}, LeRobot's format v3")


if __name__ == "__main__":
    exit_cleanly(main)

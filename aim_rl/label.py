"""Adds contacts to episodes that RoboTwin recorded: `python -m aim_rl.label --data DIR --robotwin-root ROOT ...`.

RoboTwin's files do not say what touched what, so Stage I derives picks and places from the grippers. This command lets
RoboTwin's expert repeat each recorded seed (`seed.txt`), checks that it moves as recorded, and writes the simulator's
contacts into the file. Files with contacts are skipped, so the command can be stopped and repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from aim_rl.rollout.labelling import label
from envs.errors import UserError, exit_cleanly


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Adds contacts to RoboTwin's own episodes."""

    data: Path
    """Folder of the episodes, or one above it."""
    robotwin_root: Path
    """The RoboTwin checkout, of the version that recorded them."""
    robotwin_python: Path
    """The Python that RoboTwin was installed into."""


def main() -> None:
    config = tyro.cli(LabelConfig, description=__doc__)
    labelled, errors = label(config.data, config.robotwin_root, config.robotwin_python)
    print(f"{labelled} episodes in {config.data} have got their contacts")
    if errors:
        raise UserError(f"{len(errors)} episodes were not labelled; the first: {errors[0]}")


if __name__ == "__main__":
    exit_cleanly(main)

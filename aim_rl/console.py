"""The console scripts: `aim-rl-finetune` runs `python -m aim_rl.finetune`, and so on for every command."""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the module that the script is named after, as `python -m` does."""
    command = Path(sys.argv[0]).stem.removeprefix("aim-rl-")
    runpy.run_module(f"aim_rl.{command}", run_name="__main__", alter_sys=True)

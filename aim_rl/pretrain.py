"""Stage I, supervised: `python -m aim_rl.pretrain --task T --data DIR --out RUN`, or with `torchrun` before it.

Trains the world-action model on demonstrations (aim_rl/supervised/trainer.py, docs/method.md).
"""

from __future__ import annotations

import shlex

from aim_rl.runs.config import parse
from aim_rl.runs.folder import use_all_cores
from aim_rl.runs.processes import processes
from aim_rl.supervised.config import ALL_TASKS, PretrainConfig
from aim_rl.supervised.trainer import pretrain
from envs.errors import exit_cleanly


def main() -> None:
    config = parse(PretrainConfig, __doc__, fixed=("task", "preset", "visibility"))
    with processes() as here:
        if here.count == 1:
            use_all_cores()
        run = pretrain(config, here)
        print(f"Stage I checkpoint: {run / 'checkpoint'}; measure it with")
        task = "TASK" if config.task == ALL_TASKS else config.task
        print(f"  python -m aim_rl.evaluate --task {task} --checkpoint {shlex.quote(str(run))}")


if __name__ == "__main__":
    exit_cleanly(main)

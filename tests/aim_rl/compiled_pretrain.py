"""`aim_rl.pretrain` for torchrun, with a torch.compile that needs no C++ compiler, and a preset like the full size."""

from dataclasses import replace

import torch

from aim_rl import pretrain
from aim_rl.model import PRESETS
from aim_rl.supervised import trainer
from envs.errors import exit_cleanly

from .model.conftest import WANS

TRAITS = {"pure_noise": 0.0, "times_per_frame": True, "history": 2, "history_noise": 0.5}
AS_WAN = replace(PRESETS["tiny"], **WANS, **TRAITS, name="as_wan")

if __name__ == "__main__":
    PRESETS["as_wan"] = AS_WAN
    torch.compiler.set_default_backend("aot_eager")
    trainer.check_compiler = lambda: None
    exit_cleanly(pretrain.main)

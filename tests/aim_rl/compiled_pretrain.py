"""`aim_rl.pretrain` for torchrun, with a torch.compile that needs no C++ compiler."""

import torch

from aim_rl import pretrain
from envs.errors import exit_cleanly

if __name__ == "__main__":
    torch.compiler.set_default_backend("aot_eager")
    pretrain.check_compiler = lambda: None
    exit_cleanly(pretrain.main)

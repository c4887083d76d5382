"""torch.compile of the blocks, which pays where kernels are many and short: on a GPU."""

import os
import shutil
import sysconfig
from pathlib import Path

import torch
from torch import nn

from aim_rl.model.streams import StreamBlock
from envs.errors import UserError

COMPILED = ("queries_keys_values", "update")  # of a block: all that it computes but the attention
VARIANTS = 64  # of a method: streams, group sizes, with and without gradient; PyTorch gives up after 8


def compile_blocks(model: nn.Module) -> None:
    """Compiles what the blocks compute around the attention, in place: no name in the state dict changes.

    One graph serves all blocks of a stream. Copy a model before, not after: a copy's blocks would compute with the
    weights of the original. `fully_shard` it after, not before, so that its hooks stay outside of the graphs.
    """
    for block in model.modules():
        if isinstance(block, StreamBlock):
            for name in COMPILED:
                method = getattr(block, name)
                compiled = torch.compile(method, dynamic=False, recompile_limit=VARIANTS)  # pyright: ignore[reportCallIssue]
                setattr(block, name, compiled)


def check_compiler() -> None:
    """Raises UserError unless what torch.compile generates can be built here."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise UserError(
            f"--compile needs the C++ compiler {compiler} and Python's headers; install them (Debian, Ubuntu: "
            "apt-get install g++ python3-dev) or leave the flag out"
        )

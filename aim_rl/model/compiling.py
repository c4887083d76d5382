"""torch.compile of the blocks: faster on a GPU, where many short kernels cost launches."""

import os
import shutil
import sysconfig
from pathlib import Path

import torch
from torch import nn

from aim_rl.model.streams import StreamBlock
from envs.errors import UserError

COMPILED = ("queries_keys_values", "update")  # methods of a block: everything except the attention
VARIANTS = 64  # graphs per method: streams, segment sizes, with and without gradient; PyTorch's limit is 8


def compile_blocks(model: nn.Module) -> None:
    """Compiles the blocks except their attention, in place; names in the state dict stay.

    One graph serves all blocks of a stream. Copy a model before compiling it: a copy's blocks would compute with the
    original's weights. Call `fully_shard` after compiling, so that its hooks stay outside of the graphs.
    """
    for block in model.modules():
        if isinstance(block, StreamBlock):
            for name in COMPILED:
                method = getattr(block, name)
                compiled = torch.compile(method, dynamic=False, recompile_limit=VARIANTS)  # pyright: ignore[reportCallIssue]
                setattr(block, name, compiled)


def check_compiler() -> None:
    """Raises UserError unless this machine can build the code that torch.compile generates."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise UserError(
            f"--compile needs the C++ compiler {compiler} and Python's headers; install them (Debian, Ubuntu: "
            "apt-get install g++ python3-dev) or leave the flag out"
        )

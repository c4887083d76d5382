"""Checks that what processes share fits into shared memory, before it is moved there."""

from __future__ import annotations

import math
import resource
import shutil
from pathlib import Path

from torch import nn

from envs.errors import UserError

FOLDER = Path("/dev/shm")  # where Linux keeps shared memory; a container gets 64 MiB by default
PAGE = 4096  # bytes; a shared tensor takes whole pages
SPARE = 128  # descriptors of a process beside those of its tensors
PER_WORKER = 8  # descriptors that the main process needs for a worker


def check_shared_memory(module: nn.Module, workers: int, folder: Path = FOLDER) -> None:
    """Checks that worker processes can share the tensors of a module; raises the soft limit of descriptors if needed.

    Args:
        module: tensors on a GPU and tensors that are shared already cost nothing.
        workers: processes that will share it.
        folder: where shared memory is kept.

    Raises:
        UserError: shared memory or the hard limit of descriptors is too small. Says what to do.
    """
    tensors = [*module.parameters(), *module.buffers()]
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in tensors
        if tensor.device.type == "cpu" and not tensor.is_shared()
    }
    check_room(sum(math.ceil(size / PAGE) * PAGE for size in storages.values()), "weights", folder=folder)
    _allow_descriptors(len({tensor.untyped_storage().data_ptr() for tensor in tensors}) + SPARE + PER_WORKER * workers)


def check_room(needed: int, what: str, way_out: str = "", folder: Path = FOLDER) -> None:
    """Raises UserError, which starts with `way_out`, if shared memory has no room for so many bytes of `what`."""
    free = shutil.disk_usage(folder).free if folder.exists() else needed
    if free < needed:
        size = f"{math.ceil(needed / 2**30) + 1}g"
        raise UserError(
            f"the worker processes share {needed / 2**20:.0f} MiB of {what}, and {folder} has {free / 2**20:.0f} MiB "
            f"free; {way_out}start the container with --shm-size={size}, or run `mount -o remount,size={size} "
            f"{folder}` as root"
        )


def _allow_descriptors(needed: int) -> None:
    """Each shared tensor is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"the worker processes need {needed} open files, and {hard} are allowed; run `ulimit -n {2 * needed}` "
            f"first, or start the container with --ulimit nofile={2 * needed}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))

"""Stage I on several processes: `torchrun --nproc-per-node N -m aim_rl.pretrain ...`, sharded by FSDP2.

Weights, averages and optimizer state are sharded. A step gathers the weights once, keeps them for its backward pass and
frees them before the optimizer's step. The state is gathered on the first process and written there as without sharding
(`RunState`, safetensors and JSON), because torch.distributed.checkpoint writes pickles.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from aim_rl.model import AIM
from aim_rl.model.streams import Stream
from aim_rl.runs.folder import gpu_or_cpu
from aim_rl.runs.state import Counters, RunState

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
BLOCK_METHODS = ("modulation", "queries_keys_values", "text_keys_values", "update")  # called from outside a block


@dataclass(frozen=True)
class Processes:
    """This process among the processes that train together."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def move(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch on this process's device."""
        return {key: value.to(self.device) for key, value in batch.items()}

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values / self.count

    def any(self, happened: bool) -> bool:
        """Whether it happened in any of the processes."""
        return self.mean(torch.tensor(float(happened), device=self.device)).item() > 0


ALONE = Processes(0, 1, torch.device("cpu"))


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; with GPUs, one each. Only the first one prints.

    A process that torchrun started exits at the end of the block.
    """
    count, rank, device = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0)), gpu_or_cpu()
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, device)
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    if rank:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        yield Processes(rank, count, device)
    finally:
        dist.destroy_process_group()
    # Without Python's finalisation: gloo's threads outlive their group and may hold a tensor of the last exchange.
    # Freeing it then aborts the process (pytorch/pytorch#190489, "terminate called without an active exception"), and
    # torchrun reports the whole training as failed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def place(model: AIM, here: Processes) -> None:
    """Moves a model to its device; with several processes, shards the first one's weights.

    On the other processes the model may be on the meta device.
    """
    if here.count == 1:
        model.to(here.device)
        return
    weights = model.state_dict() if here.is_first else {}
    mesh = init_device_mesh(here.device.type, (here.count,))
    for stream in model.modules():
        if isinstance(stream, Stream):
            for block in stream.blocks:
                _shard(block, mesh, BLOCK_METHODS)
    _shard(model, mesh, ("loss", "imagine"))
    assert isinstance(model, FSDPModule)
    model.set_reshard_after_backward(False)  # a block is called several times; `release` frees all
    model.to_empty(device=here.device)
    Whole(model).load_state_dict(weights)


def _shard(module: nn.Module, mesh: Any, methods: tuple[str, ...]) -> None:
    fully_shard(module, mesh=mesh, reshard_after_forward=False)
    for name in methods:
        register_fsdp_forward_method(module, name)


def release(model: nn.Module) -> None:
    """Frees the gathered weights, after the backward pass and after validation.

    Gradients are in the shards. Until then `parameters()` returns the gathered weights.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


class Whole:
    """A sharded model, or its optimizer, whose state is gathered on the first process and distributed from there."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """The whole state on the CPU of the first process, empty on the others. All processes must call it."""
        if self.optimizer is None:
            return get_model_state_dict(self.model, options=WHOLE)
        return get_optimizer_state_dict(self.model, self.optimizer, options=WHOLE)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads the first process's `state`. Raises ValueError: it is of another model."""
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=dist.is_initialized())
        try:
            if self.optimizer is None:
                set_model_state_dict(self.model, dict(state), options=options)
            else:
                set_optimizer_state_dict(self.model, self.optimizer, dict(state), options=options)
        except RuntimeError as error:
            raise ValueError(str(error).split("\n")[0]) from error


class SharedState:
    """The state of a run on any number of processes: the first one reads and writes `RunState`.

    Args:
        run: folder of the run.
        parts: the same on all processes.
        counters: the same on all processes.
        here: this process.
    """

    def __init__(self, run: Path, parts: Mapping[str, Whole], counters: Counters, here: Processes) -> None:
        self._state = RunState(run, **parts, counters=counters) if here.is_first else None
        # By name, in TorchRL's order: all processes must gather the same part at the same time.
        self._parts, self._counters, self._here = [parts[name] for name in sorted(parts)], counters, here

    def save(self, step: int) -> None:
        """As `RunState.save`."""
        if self._state is not None:
            self._state.save(step)
        else:
            for part in self._parts:
                part.state_dict()

    def restore(self) -> None:
        """As `RunState.restore`; does nothing if there is no state yet."""
        if not self._here.any(self._state is not None and self._state.exists()):
            return
        if self._state is not None:
            self._state.restore()
        else:
            for part in self._parts:
                part.load_state_dict({})
        if self._here.count > 1:
            numbers = torch.tensor(list(self._counters.values()), dtype=torch.float64, device=self._here.device)
            dist.broadcast(numbers, 0)
            self._counters.update(zip(self._counters, numbers.tolist(), strict=True))

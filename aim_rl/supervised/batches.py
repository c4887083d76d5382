"""Stage I's micro-batches, prepared ahead by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aim_rl.data.dataset import DemonstrationSet, unpack
from aim_rl.rollout.seeds import torch_seed
from aim_rl.rollout.shared_memory import check_room
from aim_rl.runs.processes import Processes
from aim_rl.supervised.config import PretrainConfig

AHEAD = 2
"""Micro-batches that a worker has ready."""

Drawn = tuple[int, Tensor, dict[str, Tensor]]
"""A seed, the state of its generator after the draws, and what was drawn."""


def micro_batches(
    data: DemonstrationSet, config: PretrainConfig, processes: Processes, first: int = 0
) -> Iterator[dict[str, Tensor]]:
    """This process's micro-batches from optimizer step `first` on, as `DemonstrationSet.batch`, on its device.

    Random draws depend only on the micro-batch's number, so a run with --micro-batch takes the same steps on any number
    of processes. After each batch, the draws of torch's generators go on where those of the batch ended.

    Raises:
        UserError: /dev/shm has no room for the batches of the workers.
    """
    size = config.micro_size(processes.count)
    count = config.batch_size // size
    chunk = sum(value.nbytes for value in data.packed(data.train[:1]).values())
    if config.workers:
        check_room((AHEAD * config.workers + 1) * size * chunk, "batches", "give --workers 0, ")
    cv2.setNumThreads(1)  # here, not in the workers: a fork that ends the main process's threads waits for ever
    loader = DataLoader(
        _Numbered(data, size, config.seed),
        batch_size=None,
        sampler=range(first * count + processes.rank, config.steps * count, processes.count),
        num_workers=config.workers,
        prefetch_factor=AHEAD if config.workers else None,
        worker_init_fn=_start,
        multiprocessing_context="fork" if config.workers else None,  # the maps are inherited
    )
    for seed, state, batch in loader:
        torch.manual_seed(seed)  # of a GPU, too
        torch.set_rng_state(state)
        yield unpack(processes.move(batch))


class _Numbered(Dataset[Drawn]):
    """The micro-batches of a run by number."""

    def __init__(self, data: DemonstrationSet, size: int, seed: int) -> None:
        self._data, self._size, self._seed = data, size, seed

    def __getitem__(self, number: int) -> Drawn:
        seed = torch_seed(1 + number, apart=self._seed)
        generator = torch.Generator().manual_seed(seed)
        train = self._data.train
        chosen = train[torch.randint(len(train), (self._size,), generator=generator)]
        batch = self._data.packed(chosen, generator)
        return seed, generator.get_state(), batch


def _start(_: int) -> None:
    """Leaves Ctrl-C to the main process, which finishes its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

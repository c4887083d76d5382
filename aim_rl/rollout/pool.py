"""One pool of worker processes for training rollouts, evaluation and demonstrations: a lost worker is replaced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

from aim_rl.rollout.worker import LOCAL, Transport, Worker, WorkerLost
from envs.errors import UserError

ANSWER_TIMEOUT = 1800.0  # seconds that an answer may take: RoboTwin loads slowly, and its expert may try many seeds
ATTEMPTS = 3  # workers that a slot may lose in a row without progress


class Job(Protocol):
    """What the workers of one slot do, and where a replacement continues. The pool's user supplies one per slot.

    Attributes:
        name: of a worker in sentences, "simulator process" for example.
    """

    name: str

    def start(self, losses: int) -> tuple[Any, ...]:
        """Arguments of the target for the worker that starts now; `losses` workers were lost here before it."""
        ...

    def after_loss(self) -> str:
        """Called between a loss and the replacement's `start`; says where that continues ("continues at seed ...")."""
        ...

    def failure(self) -> str:
        """What `ATTEMPTS` workers in a row did not get done, and the way out ("in a row without ...; take ...")."""
        ...


J = TypeVar("J", bound=Job)


class Slot(Generic[J]):
    """One place of the pool and the worker that runs there now. The worker starts with the first request.

    Args:
        target: what the workers run (`Transport.start`).
        job: see `Job`.
        transport: where the workers run.

    Attributes:
        losses: how many workers were lost here.
        losses_in_a_row: those since the last `made_progress`.
    """

    def __init__(self, target: Callable[..., None], job: J, transport: Transport) -> None:
        self.job = job
        self.losses = self.losses_in_a_row = 0
        self.worker: Worker | None = None
        self._target, self._transport = target, transport

    def ask(self, request: Any) -> None:
        """Sends a request to the slot's worker."""
        (self.worker or self._start()).ask(request)

    def answer(self, timeout: float = ANSWER_TIMEOUT) -> Any:
        """The worker's answer; None if the worker was lost: its replacement has been started and can be asked.

        Args:
            timeout: seconds after which the worker counts as hung.

        Raises:
            UserError: `ATTEMPTS` workers were lost in a row without progress, or the worker says what to fix.
        """
        assert self.worker is not None
        try:
            return self.worker.answer(timeout)
        except WorkerLost as loss:
            self.replace(loss)
            return None

    def replace(self, loss: WorkerLost) -> None:
        """Ends the worker, counts the loss and starts another worker. Raises UserError as `answer`."""
        self.close()
        self.losses += 1
        self.losses_in_a_row += 1
        if self.losses_in_a_row == ATTEMPTS:
            raise UserError(f"a {self.job.name} {loss}, the third {self.job.failure()}") from loss
        warnings.warn(f"a {self.job.name} {loss}; another one {self.job.after_loss()}", stacklevel=2)
        self._start()

    def made_progress(self) -> None:
        """The worker finished something: losses before this one no longer count as in a row."""
        self.losses_in_a_row = 0

    def close(self) -> None:
        """Ends the worker."""
        if self.worker is not None:
            self.worker.close()

    def _start(self) -> Worker:
        self.worker = self._transport.start(self._target, *self.job.start(self.losses))
        return self.worker


class WorkerPool(Generic[J]):
    """Slots with one worker process each.

    Args:
        target: what every worker runs (`Transport.start`).
        jobs: one per slot.
        transport: where the workers run.

    Attributes:
        slots: in the order of `jobs`.
    """

    def __init__(self, target: Callable[..., None], jobs: Sequence[J], transport: Transport = LOCAL) -> None:
        self.slots = [Slot(target, job, transport) for job in jobs]
        self._transport = transport

    @property
    def losses(self) -> int:
        """How many workers were lost and replaced."""
        return sum(slot.losses for slot in self.slots)

    def first_answer(self, busy: Sequence[Slot[J]]) -> tuple[Slot[J], Any]:
        """The slot whose worker answers first, and the answer (None: lost, as in `Slot.answer`).

        Args:
            busy: slots that have been asked. Where none of them answers in time, the first one counts as hung.
        """
        ready = self._transport.first_ready([slot.worker for slot in busy], ANSWER_TIMEOUT)
        for slot in busy:
            if slot.worker is ready:
                return slot, slot.answer()
        busy[0].replace(WorkerLost(f"did not answer within {ANSWER_TIMEOUT:.0f} s"))
        return busy[0], None

    def close(self) -> None:
        """Ends the workers, all at once: one that is in the middle of a request is waited for."""
        with ThreadPoolExecutor(len(self.slots)) as threads:
            list(threads.map(Slot.close, self.slots))

"""Stage II's loop: collect, reward, observe, update, average, log, save."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from tensordict import TensorDictBase
from torch.optim.swa_utils import AveragedModel

from aim_rl.model.checkpoint import save_checkpoint
from aim_rl.rl.algorithm import Algorithm, Metrics
from aim_rl.rl.hacking_watch import ALARM, HackingWatch
from aim_rl.rl.metrics import count, describe_rollouts, log_videos
from aim_rl.rl.policy import AimPolicy
from aim_rl.rl.validation import Validation
from aim_rl.rollout.groups import CompletedRollouts, training_batches
from aim_rl.rollout.kept_rollouts import RolloutNotes
from aim_rl.runs.folder import tensorboard
from aim_rl.runs.interrupt import Interrupt, ctrl_c_finishes_the_step
from aim_rl.runs.progress import Bar, progress
from aim_rl.runs.state import Counters, RunState
from rewards.torchrl_transform import ValueMapRewardTransform

WARM_UP = 0.1  # share of the training in which the learning rate rises
COUNTED = ("iterations", "episodes", "environment_steps", "decisions")
VIDEOS_EVERY = 10  # iterations
ROUND = "this round of rollouts"


class Rollouts(Protocol):
    """Where rollouts come from: iterates over lists of rollouts [T] of complete groups.

    Attributes:
        restarts: processes replaced since the beginning of the run.
    """

    @property
    def restarts(self) -> int: ...

    def __iter__(self) -> Iterator[list[TensorDictBase]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def shutdown(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a training is and how often it saves."""

    iterations: int
    batch: int
    """Rollouts per iteration."""
    save_every: int
    """Iterations between two saved states."""


def learning_rate_share(trained: float) -> float:
    """Factor of the learning rate at `trained`, the share of the training that is done: rises to 1, then falls to 0.

    Without the rise, Adam's first steps, which are as long as any and follow single gradients, made ratios of 10^4.
    """
    return min(trained / WARM_UP, (1 - trained) / (1 - WARM_UP))


class Trainer:
    """Trains a policy and leaves `<run>/checkpoint`, `<run>/best`, TensorBoard events and its state in the run.

    With a binary reward single iterations are noisy, so the result is the average of the weights over the second half
    of the iterations (Polyak), unless earlier weights did better on the validation scenes.

    Args:
        schedule: how long.
        policy: what is trained, in place.
        rollouts: where rollouts come from.
        reward: writes rewards into rollouts.
        learner: changes the policy.
        validation: keeps the best weights in `<run>/best` and undoes a collapse; None: nothing is measured.
        run: folder of the run.
        metadata: of its checkpoints: task, stage, setting.
        resume: continue from the state in `run`, if there is one.
        notes: where successful rollouts are noted; their keys must include `action`. None: nowhere.
    """

    def __init__(
        self,
        schedule: Schedule,
        policy: AimPolicy,
        rollouts: Rollouts,
        reward: ValueMapRewardTransform,
        learner: Algorithm,
        validation: Validation | None,
        run: Path,
        metadata: Mapping[str, Any],
        resume: bool = False,
        notes: RolloutNotes | None = None,
    ) -> None:
        self.schedule, self.policy, self.rollouts, self.reward = schedule, policy, rollouts, reward
        self.learner, self.validation, self.run, self._metadata = learner, validation, run, metadata
        self.notes = notes
        self.watch, self.average = HackingWatch(), AveragedModel(policy.trained)
        self.totals = Counters(dict.fromkeys((*COUNTED, "seconds", "restarts"), 0.0))
        completed = CompletedRollouts()
        parts = {"learner": learner, "watch": self.watch, "average": self.average, "simulators": rollouts}
        if validation is not None:
            parts["judged"] = validation  # the name that version 0.1 saved under
        self.state = RunState(run, **parts, ready=completed, totals=self.totals)
        restored = resume and self.state.exists()
        if restored:
            self.state.restore()
        elif notes is not None:
            notes.delete()  # of a run that was stopped before its first state
        if validation is not None and self.done and not validation.has_stage1:
            self.validation = None  # a run of version 0.1, whose weights are no longer Stage I's
        self.interrupt = Interrupt(ROUND)
        self.batches = training_batches(self._rounds(completed), completed, schedule.batch)
        self.writer = tensorboard(run, self.steps + 1 if restored else 0)  # Stage I is at step 0
        self._clock = time.monotonic()

    @property
    def done(self) -> int:
        """Iterations so far."""
        return int(self.totals["iterations"])

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return int(self.totals["environment_steps"])

    def train(self) -> dict[str, Any]:
        """Runs the iterations that are left; returns the final checkpoint's metadata.

        Raises:
            UserError: updates have diverged, the disk is full or processes cannot be kept alive.
            KeyboardInterrupt: Ctrl-C, after everything up to a round of rollouts or an update was saved.
        """
        title = f"Stage II {self._metadata['task']}"
        if self.validation is not None:
            for name, value in self.validation.begin(self.metadata()).items():
                self.writer.add_scalar(f"stage2/{name}", value, self.steps)
            self._clock = time.monotonic()
        with (
            progress(title, self.schedule.iterations, "iterations", self.done) as bar,
            ctrl_c_finishes_the_step(self.interrupt),
        ):
            self.interrupt.saved = f"iteration {self.done}"
            self.validate()  # what Ctrl-C broke off
            for iteration in range(self.done, self.schedule.iterations):
                self.set_schedule(iteration)
                self.interrupt.begin(ROUND)
                rollouts = self.reward(next(self.batches))
                if self.notes is not None:
                    self.notes.add(iteration, rollouts)
                self.interrupt.begin("this update")
                metrics = self.learner.observe(rollouts)
                metrics |= self.learner.update(rollouts)
                self.learner.check(self.run)
                self.average_weights(iteration)
                metrics |= self.measure(rollouts)
                self.log(rollouts, metrics, bar)
                self.validate()
                self.save()
        return self.finish()

    def _rounds(self, completed: CompletedRollouts) -> Iterator[list[TensorDictBase]]:
        """Rounds of rollouts. After each of them Ctrl-C ends the training; the state then holds `completed`."""
        for finished in self.rollouts:
            if self.interrupt.pressed:
                completed.rollouts += finished
                self.stop()
            yield finished
            self.interrupt.begin(ROUND)

    def set_schedule(self, iteration: int) -> None:
        """What depends on how far the training is."""
        self.reward.trained = iteration / self.schedule.iterations
        rate = learning_rate_share((iteration + 0.5) / self.schedule.iterations)
        self.learner.rate = rate if self.validation is None else rate * self.validation.rate

    def average_weights(self, iteration: int) -> None:
        """Over the second half of the iterations."""
        if 2 * (iteration + 1) > self.schedule.iterations:
            self.average.update_parameters(self.policy.trained)

    def measure(self, rollouts: TensorDictBase) -> Metrics:
        """What rollouts say of the policy; counts them."""
        metrics = describe_rollouts(rollouts)
        metrics |= self.watch.update(rollouts, metrics)
        seconds, self._clock = time.monotonic() - self._clock, time.monotonic()
        counts = count(rollouts)
        metrics["speed/episodes_per_s"] = counts["episodes"] / seconds
        metrics["speed/decisions_per_s"] = counts["decisions"] / seconds
        metrics["noise_level"] = self.policy.noise_level
        metrics["skipped_updates"] = self.learner.counters["skipped_updates"]
        restarts = self.rollouts.restarts - self.totals["restarts"]  # also while the last state was saved
        within = rollouts["next", "restarts"][..., 0] * rollouts["collector", "mask"]
        metrics["simulator_restarts"] = float(within.amax(1).sum()) + restarts
        added = counts | {"iterations": 1, "seconds": seconds, "restarts": restarts}
        self.totals.update({key: self.totals[key] + added[key] for key in self.totals})
        return metrics

    def validate(self) -> None:
        """Measures the policy on the validation scenes, if it is time to; after Ctrl-C `--resume` does so."""
        if self.validation is None or not self.validation.due(self.done):
            return
        try:
            with self.interrupt.raises():
                outcome = self.validation.measure()
        except KeyboardInterrupt:
            self.stop()
        for name, value in self.validation.judge(outcome, self.done, self.metadata()).items():
            self.writer.add_scalar(f"stage2/{name}", value, self.steps)
        self.totals["seconds"] += time.monotonic() - self._clock
        self._clock = time.monotonic()

    def log(self, rollouts: TensorDictBase, metrics: Metrics, bar: Bar) -> None:
        """To TensorBoard and the progress bar."""
        for name, value in metrics.items():
            self.writer.add_scalar(f"stage2/{name}", value, self.steps)
        if self.watch.raised_now:
            print(ALARM)
        if (self.done - 1) % VIDEOS_EVERY == 0:
            log_videos(self.writer, rollouts, self.steps)
        bar.update(
            self.done,
            f"success {metrics['success']:.2f} dense {metrics['return_dense']:.2f} "
            f"KL {metrics.get('update/kl_to_stage1', 0):.3f} {metrics['speed/episodes_per_s']:.1f} episodes/s",
        )

    def save(self) -> None:
        """Every `save_every` iterations, at the end, and after Ctrl-C, which stops the training here."""
        if self.interrupt.pressed:
            self.stop()
        if self.done % self.schedule.save_every == 0 or self.done == self.schedule.iterations:
            self._save()

    def stop(self) -> NoReturn:
        """Ends the training after Ctrl-C: all up to here is saved."""
        self.totals["seconds"] += time.monotonic() - self._clock
        self._save()
        raise KeyboardInterrupt(f"stopped after {self.done} iterations; go on with --resume {self.run}")

    def _save(self) -> None:
        save_checkpoint(self.run / "checkpoint", self.policy.model, self.metadata())
        self.writer.flush()  # otherwise a killed run's curves would end before its state
        self.state.save(self.done)
        self.interrupt.saved = f"iteration {self.done}"

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint's metadata says of the run so far."""
        counts = {key: int(self.totals[key]) for key in COUNTED}
        skipped = int(self.learner.counters["skipped_updates"])
        return {**self._metadata, **counts, "updates": int(self.policy.version), "skipped_updates": skipped}

    def finish(self) -> dict[str, Any]:
        """Saves the average, or what did better on the validation scenes, as the result."""
        self.policy.trained.load_state_dict(self.average.module.state_dict())
        result = self.metadata()
        if self.validation is not None:
            result |= self.validation.finish(self.metadata())
        result["minutes"] = self.totals["seconds"] / 60
        save_checkpoint(self.run / "checkpoint", self.policy.model, result)
        self.writer.close()
        return result

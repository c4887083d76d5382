"""Records demonstrations of the scripted expert: `python -m aim_rl.collect --task T --episodes N --out DIR`.

The expert is disturbed on purpose, so that the data shows recoveries; only successful episodes are kept. Seeds
are consecutive from `--seed`; the same command, or `--resume DIR`, goes on where an interrupted run stopped. With
`--backend robotwin` it is RoboTwin's own expert, which plans whole motions and is therefore left undisturbed.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import envs
from aim_rl.data.episode import Contacts, Episode
from aim_rl.data.files import episode_path, read_episode, write_episode
from aim_rl.model.presets import PRESETS
from aim_rl.rollout import seeds
from aim_rl.rollout.worker import ANSWER_TIMEOUT, ATTEMPTS, Worker, WorkerLost, ready, send_answer
from aim_rl.runs.config import load_config, parse
from aim_rl.runs.folder import check_writable, new_run
from aim_rl.runs.interrupt import ctrl_c_finishes_the_step, says_how_to_resume
from aim_rl.runs.progress import progress
from envs.backend import TABLETOP, BackendOptions
from envs.errors import UserError, exit_cleanly
from envs.robotwin.client import TaskFailed
from envs.robotwin.contacts import watch
from envs.robotwin.env import RoboTwinEnv
from envs.tabletop.contacts import ContactRecorder, Event
from envs.tabletop.env import SETTINGS, TabletopEnv
from envs.wrappers import finite

PERTURBATION_RATE = 0.02  # disturbances per control step
PERTURBATION_STEPS = 2  # control steps that a disturbance lasts
PERTURBATION_SIZE = 0.06  # rad per joint and step, standard deviation: 3 to 4 cm at the gripper
RELEASE_SHARE = 0.15  # of the disturbances open a gripper instead
EXPERT_LIMIT = 400  # control steps, or half the task's limit; a disturbed expert that needs longer is dropped
OTHERS = f"demonstrations take seeds below {seeds.REINFORCEMENT}, those above belong to Stage II and to evaluation"


@dataclass
class CollectConfig:
    """Records demonstrations of the scripted expert."""

    task: str
    """RoboTwin's task name; `python -m envs --list` lists them."""
    out: Path
    """Directory of the dataset."""
    resume: Path | None = None
    """Dataset to go on with, by its own configuration."""
    episodes: int = 300
    """Successful episodes to record."""
    workers: int = 2
    """Processes."""
    setting: str = "clean"
    """clean or randomized."""
    seed: int = seeds.DEMONSTRATIONS
    """First seed; --seed plus --episodes must stay below 200000, where Stage II's seeds begin."""
    full_size: bool = False
    """Record RoboTwin's 320x240 pictures instead of the `small` preset's (ten times slower)."""
    simulator: BackendOptions = TABLETOP


def demonstrate(env: TabletopEnv, seed: int) -> Episode | None:
    """One disturbed episode of the expert, or None if it did not succeed. FloatingPointError if it observes NaN."""
    rng = np.random.default_rng([seed, 1])
    env.restart(seed)
    recorder = ContactRecorder(env.scene)
    frames: list[dict[str, NDArray[np.generic]]] = []
    perturbation, remaining, solved = np.zeros(14), 0, False
    limit = max(EXPERT_LIMIT, env.step_limit // 2)
    while not solved and env.steps < limit:
        recorder.record()
        action = env.expert_action()
        if remaining == 0 and rng.random() < PERTURBATION_RATE:
            perturbation, remaining = _action_perturbation(rng), PERTURBATION_STEPS
        if remaining:
            action = action + perturbation
            remaining -= 1
        action[[6, 13]] = action[[6, 13]].clip(0.0, 1.0)
        command = {"action": action.astype(np.float32), "perturbed": np.bool_(perturbation.any())}
        frames.append(finite(env.observe()) | command)
        solved = env.control(action)
        if not remaining:
            perturbation = np.zeros(14)
    recorder.record()
    if not solved:
        return None
    stacked: dict[str, Any] = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}
    return Episode(
        **stacked,
        instructions=env.wordings[env.wording],
        contacts=gather_contacts(recorder.events(), recorder, len(frames)),
        task=env.task_class.name,
        setting=env.setting,
        seed=seed,
    )


def demonstrate_robotwin(env: RoboTwinEnv, seed: int, setting: str) -> Episode | None:
    """One episode of RoboTwin's expert, a frame every 15 physics steps, or None if it did not succeed this time.

    FloatingPointError if it observes NaN.
    """
    try:
        demonstration = env.demonstrate(seed)
    except TaskFailed:
        return None
    if not demonstration.success:
        return None
    recorder, frames = watch(demonstration), demonstration.frames
    stacked: dict[str, Any] = finite({key: np.stack([each[key] for each in frames[:-1]]) for key in env.spaces})
    action = np.stack([each["qpos"] for each in frames[1:]])  # drive targets that the expert had set a frame later
    return Episode(
        **stacked,
        action=action,
        perturbed=np.zeros(len(action), bool),
        instructions=env.wordings[env.wording],
        contacts=gather_contacts(recorder.events(), recorder, len(action)),
        task=env.task_name,
        setting=setting,
        seed=seed,
    )


def _action_perturbation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A disturbance of one arm, added to the joint targets [14] of a few control steps."""
    perturbation = np.zeros(14)
    arm = slice(0, 7) if rng.random() < 0.5 else slice(7, 14)
    if rng.random() < RELEASE_SHARE:
        perturbation[arm] = [0.0] * 6 + [1.0]
    else:
        perturbation[arm] = [*rng.normal(0.0, PERTURBATION_SIZE, 6), 0.0]
    return perturbation


def gather_contacts(events: list[Event], recorder: ContactRecorder, frames: int) -> Contacts:
    """Events as the arrays of an episode with `frames` frames (an event at the very end gets the last one)."""
    if not events:
        return Contacts.empty(frames)
    bodies = sorted({event.body for event in events})
    counts = [len(event.points) for event in events]

    def spread(values: list[int], dtype: type) -> NDArray[np.generic]:
        return np.repeat(np.array(values, dtype), counts)

    return Contacts(
        point=np.concatenate([event.points for event in events]).astype(np.float32),
        time=spread([min(event.frame, frames - 1) for event in events], np.int32),
        kind=spread([event.kind for event in events], np.uint8),
        arm=spread([event.arm for event in events], np.uint8),
        event=spread(list(range(len(events))), np.int32),
        body=spread([bodies.index(event.body) for event in events], np.int32),
        body_poses=np.array([recorder.poses[body][:frames] for body in bodies], np.float32),
    )


def _record(channel: Connection, config: CollectConfig) -> None:
    """The process: answers each seed with its episode, or None."""
    os.environ["LP_NUM_THREADS"] = "1"  # one rasteriser thread per process: the processes are the parallelism
    small = PRESETS["small"]
    sizes = ((240, 320), (240, 320)) if config.full_size else (small.head_size, small.wrist_size)
    env = config.simulator.make(envs.resolve_task(config.task), config.setting, *sizes)
    try:
        while True:
            seed = channel.recv()
            if isinstance(env, TabletopEnv):
                send_answer(channel, demonstrate(env, seed))
            else:
                send_answer(channel, demonstrate_robotwin(env, seed, config.setting))
    finally:
        env.close()


class Recorders:
    """The processes that record. One that dies or hangs is replaced, and its seed is recorded anew.

    Args:
        config: what they record.
        first_seed: of the seeds, which are consecutive.
    """

    def __init__(self, config: CollectConfig, first_seed: int) -> None:
        self._config, self._next = config, first_seed
        self._idle = [Worker(_record, config) for _ in range(config.workers)]
        self._busy: dict[Worker, int] = {}
        self._lost: Counter[int] = Counter()

    def next(self, limit: int) -> tuple[int, Episode | None]:
        """The next seed that is recorded, whichever it is, and its episode or None.

        Args:
            limit: seeds from here on are not begun.

        Raises:
            UserError: three processes were lost at one seed, or one of them says what the user should fix.
        """
        while True:
            while self._idle and self._next < limit:
                self._ask(self._idle.pop(), self._next)
                self._next += 1
            worker = ready(self._busy, ANSWER_TIMEOUT)
            seed = self._busy[worker]
            try:
                episode = worker.answer(ANSWER_TIMEOUT)
            except WorkerLost as loss:
                del self._busy[worker]
                self._lost[seed] += 1
                if self._lost[seed] == ATTEMPTS:
                    raise UserError(
                        f"a recording process {loss}, the third at seed {seed}; if memory is short, take fewer "
                        "--workers, or another --seed"
                    ) from loss
                warnings.warn(f"a recording process {loss}; another one records seed {seed} anew", stacklevel=2)
                self._ask(Worker(_record, self._config), seed)
            else:
                del self._busy[worker]
                self._idle.append(worker)
                return seed, episode

    def _ask(self, worker: Worker, seed: int) -> None:
        worker.ask(seed)
        self._busy[worker] = seed

    def close(self) -> None:
        """Ends the processes."""
        for worker in [*self._idle, *self._busy]:
            worker.close()


def collect(config: CollectConfig) -> int:
    """Records until the dataset holds `config.episodes` episodes; returns how many seeds the expert failed.

    Episodes are written in the order of their seeds, so the dataset depends neither on the number of workers nor on
    interruptions.
    """
    written, number, next_seed = resume(config)
    new_run(config.task, config.out, config)
    recorders, pending = Recorders(config, next_seed), {}
    try:
        with (
            progress(f"collect {config.task}", config.episodes, "episodes", written) as bar,
            ctrl_c_finishes_the_step() as interrupt,
        ):
            while written < config.episodes:
                if interrupt.pressed:
                    raise KeyboardInterrupt(f"stopped after {written} episodes; go on with --resume {config.out}")
                seed, episode = recorders.next(next_seed + 2 * config.workers)
                pending[seed] = episode
                while next_seed in pending and written < config.episodes:
                    if next_seed >= seeds.REINFORCEMENT:  # those that the expert fails have pushed it there
                        raise UserError(
                            f"{written} episodes are all that the seeds from {config.seed} on give; {OTHERS}"
                        )
                    episode = pending.pop(next_seed)
                    next_seed += 1
                    if episode is None:
                        continue
                    write_episode(episode_path(config.out, number), episode)
                    written, number = written + 1, number + 1
                    bar.update(written, f"{next_seed - config.seed - written} failed seeds dropped")
    finally:
        recorders.close()
    return next_seed - config.seed - written


def resume(config: CollectConfig) -> tuple[int, int, int]:
    """How many episodes an earlier run has left in `config.out`, the next one's number, and the seed to go on with.

    Episodes that were deleted leave a gap.

    Raises:
        UserError: they were recorded otherwise, are more than are asked for, or the last one is damaged.
    """
    for leftover in Path(config.out).glob("data/.episode_*.tmp"):  # of a process that was killed while it wrote
        leftover.unlink()
    done = sorted(Path(config.out).glob("data/episode_*.hdf5"))
    if not done:
        return 0, 0, config.seed
    last = read_episode(done[-1])
    if (last.task, last.setting) != (envs.resolve_task(config.task), config.setting):
        raise UserError(
            f"{config.out} holds episodes of {last.task} ({last.setting}); choose another folder with --out"
        )
    if (config.out / "config.json").exists():
        before = load_config(CollectConfig, config.out)
        settings = (("seed", before.seed, config.seed), ("full-size", before.full_size, config.full_size))
        for flag, then, now in (*settings, ("backend", before.simulator.backend, config.simulator.backend)):
            if then != now:
                raise UserError(
                    f"{config.out} holds episodes of --{flag} {then}, not {now}; go on with that, or choose another "
                    "folder with --out"
                )
    if config.episodes < len(done):
        raise UserError(f"{config.out} holds {len(done)} episodes already; ask for more by --episodes")
    if last.seed < config.seed:
        raise UserError(
            f"{config.out} holds episodes of seeds up to {last.seed}; go on with the --seed that it began with, or "
            "choose another folder with --out"
        )
    return len(done), int(done[-1].stem.removeprefix("episode_")) + 1, last.seed + 1


def main() -> None:
    config = parse(CollectConfig, __doc__)
    config.out = config.resume or config.out
    task = envs.resolve_task(config.task)
    if config.setting not in SETTINGS:
        raise UserError(f"unknown setting {config.setting!r}; choose one of {', '.join(SETTINGS)}")
    if config.episodes < 1 or config.workers < 1 or config.seed < 0:
        raise UserError("--episodes and --workers must be at least 1, and --seed at least 0")
    if config.seed + config.episodes > seeds.REINFORCEMENT:
        raise UserError(f"that is more scenes than the seeds from {config.seed} on have; {OTHERS}")
    config.simulator.require(task, config.setting)
    check_writable(episode_path(config.out, 0))
    with says_how_to_resume(config.out):
        failed = collect(config)
    print(f"{config.episodes} episodes of {task} ({config.setting}) in {config.out}; {failed} seeds dropped")


if __name__ == "__main__":
    exit_cleanly(main)

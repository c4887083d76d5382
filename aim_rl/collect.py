"""Records demonstrations of the scripted expert: `python -m aim_rl.collect --task T --episodes N --out DIR`.

The expert's actions are perturbed on purpose, so that the data shows recoveries; only successful episodes are kept.
Seeds are consecutive from `--seed`; the same command, or `--resume DIR`, continues an interrupted recording. With
`--backend robotwin` it is RoboTwin's own expert, which plans whole motions and is therefore not perturbed.

With `--policy RUN` a trained policy acts first and the expert goes on from where it has come, so that the data shows
the way out of the policy's own mistakes. What the policy did is marked and not imitated
(aim_rl/rollout/policy_recording.py).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import envs
from aim_rl.data.episode import Episode
from aim_rl.data.files import episode_path, read_episode, write_episode
from aim_rl.model.checkpoint import load_checkpoint, resolve_checkpoint
from aim_rl.model.presets import PRESETS
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from aim_rl.rollout.policy_recording import correct
from aim_rl.rollout.recording import record_demonstrations, record_episodes
from aim_rl.rollout.worker import LOCAL, Transport
from aim_rl.runs.config import BackendOptions, load_config, parse
from aim_rl.runs.folder import check_writable, new_run
from aim_rl.runs.history import record_change
from aim_rl.runs.interrupt import Interrupt, ctrl_c_finishes_the_step, says_how_to_resume
from aim_rl.runs.progress import progress
from envs.backend import TABLETOP
from envs.constants import SETTINGS
from envs.errors import UserError, exit_cleanly
from envs.wrappers import EpisodePrefix

ROBOTWIN_SIZE = (240, 320)  # height, width in px
SEED_RANGE = f"demonstrations take seeds below {seeds.REINFORCEMENT}, those above belong to Stage II and to evaluation"


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Records demonstrations of the scripted expert."""

    task: str
    """RoboTwin's task name; `python -m envs --list` lists them."""
    out: Path
    """Directory of the dataset."""
    resume: Path | None = None
    """Dataset to continue, with its own configuration."""
    episodes: int = 300
    """Successful episodes to record."""
    workers: int = 2
    """Processes."""
    setting: str = "clean"
    """clean or randomized."""
    seed: int = seeds.DEMONSTRATIONS
    """First seed; --seed plus --episodes must stay below 200000, where Stage II's seeds begin."""
    policy: Path | None = None
    """Run or checkpoint of a policy that begins every episode; the expert solves it from there. Takes that policy's
    picture sizes, and other seeds than the demonstrations that it was trained on (--seed)."""
    full_size: bool = False
    """Record RoboTwin's 320x240 pictures instead of the `small` preset's (ten times slower)."""
    simulator: BackendOptions = TABLETOP

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", envs.resolve_task(self.task))
        object.__setattr__(self, "out", self.resume or self.out)
        if self.setting not in SETTINGS:
            raise UserError(f"unknown setting {self.setting!r}; choose one of {', '.join(SETTINGS)}")
        if self.episodes < 1 or self.workers < 1 or self.seed < 0:
            raise UserError("--episodes and --workers must be at least 1, and --seed at least 0")
        if self.policy is not None and self.full_size:
            raise UserError("--policy sees pictures of its own size; leave out --full-size")
        if self.seed + self.episodes > seeds.REINFORCEMENT:
            raise UserError(f"there are not so many seeds from {self.seed} on; {SEED_RANGE}")


def collect(config: CollectConfig, transport: Transport = LOCAL) -> int:
    """Records until the dataset holds `config.episodes` episodes; returns how many seeds the expert failed.

    Episodes are written in the order of their seeds, so the dataset depends neither on the number of workers nor on
    interruptions.

    Raises:
        UserError: as `find_recorded`, or the seeds for demonstrations run out.
    """
    written, number, first_seed = find_recorded(config)
    if not written or not (config.out / "config.json").exists():
        new_run(config.task, config.out, config)
    elif written < config.episodes:
        record_change(config.out, config, written)
    failed = first_seed - config.seed - written
    if written == config.episodes:
        return failed
    recorded = record(config, first_seed, transport)
    with (
        contextlib.closing(recorded),
        progress(f"collect {config.task}", config.episodes, "episodes", written) as bar,
        ctrl_c_finishes_the_step(interrupt := Interrupt("this episode")),
    ):
        interrupt.saved = f"episode {written}"
        for seed, episode in recorded:
            if seed >= seeds.REINFORCEMENT:  # failed seeds have pushed it there
                raise UserError(f"{written} episodes are all that the seeds from {config.seed} on give; {SEED_RANGE}")
            if episode is None:
                failed += 1
            else:
                write_episode(episode_path(config.out, number), episode)
                written, number = written + 1, number + 1
                bar.update(written, f"{failed} failed seeds dropped")
            if written == config.episodes:
                break
            if interrupt.pressed:
                raise KeyboardInterrupt(f"stopped after {written} episodes; go on with --resume {config.out}")
            interrupt.saved = f"episode {written}"
            interrupt.begin("this episode")
    return failed


def record(config: CollectConfig, first_seed: int, transport: Transport) -> Generator[tuple[int, Episode | None]]:
    """The seeds from `first_seed` on, each with its episode or None. Raises UserError as `record_episodes`."""
    make_env = functools.partial(config.simulator.make, config.task, config.setting)
    if config.policy is None:
        small = PRESETS["small"]
        sizes = (ROBOTWIN_SIZE, ROBOTWIN_SIZE) if config.full_size else (small.head_size, small.wrist_size)
        make_env = functools.partial(make_env, *sizes)
        return record_demonstrations(make_env, config.setting, first_seed, config.workers, transport)
    checkpoint = resolve_checkpoint(config.task, config.policy)
    assert checkpoint is not None  # only where no path is given
    model, _ = load_checkpoint(checkpoint, config.task)
    policy, preset = AimPolicy(model, model.preset.execute), model.preset
    make_env = functools.partial(make_env, preset.head_size, preset.wrist_size, action_mode="ee")
    corrected = functools.partial(correct, policy)
    prefixes = (EpisodePrefix(seed) for seed in itertools.count(first_seed))
    return record_episodes(corrected, prefixes, make_env, config.setting, config.workers, transport)


def find_recorded(config: CollectConfig) -> tuple[int, int, int]:
    """How many episodes an earlier recording has left in `config.out`, the next one's number, and the next seed.

    Episodes that were deleted leave a gap.

    Raises:
        UserError: they were recorded otherwise, are more than are asked for, or the last one is damaged.
    """
    for leftover in config.out.glob("data/.episode_*.tmp"):  # of a process that was killed while it wrote
        leftover.unlink()
    done = sorted(config.out.glob("data/episode_*.hdf5"))
    if not done:
        return 0, 0, config.seed
    last = read_episode(done[-1])
    if (last.task, last.setting) != (config.task, config.setting):
        raise UserError(
            f"{config.out} holds episodes of {last.task} ({last.setting}); choose another folder with --out"
        )
    if (config.out / "config.json").exists():
        before = load_config(CollectConfig, config.out)
        settings = (("seed", before.seed, config.seed), ("full-size", before.full_size, config.full_size))
        settings += (("policy", before.policy, config.policy),)
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
            f"{config.out} holds episodes of seeds up to {last.seed}; go on with the --seed of its first recording, or "
            "choose another folder with --out"
        )
    return len(done), int(done[-1].stem.removeprefix("episode_")) + 1, last.seed + 1


def main() -> None:
    config = parse(CollectConfig, __doc__)
    config.simulator.require(config.task, config.setting)
    check_writable(episode_path(config.out, 0))
    with says_how_to_resume(config.out):
        failed = collect(config)
    print(f"{config.episodes} episodes of {config.task} ({config.setting}) in {config.out}; {failed} seeds dropped")


if __name__ == "__main__":
    exit_cleanly(main)

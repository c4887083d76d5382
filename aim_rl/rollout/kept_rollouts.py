"""Training rollouts that are kept as episodes, for Stage I to train on.

A rollout renders one observation per decision, an episode one per control step. Rendering every control step of every
rollout would slow training down, so training only notes seeds and actions (some kB per rollout). When it is done, the
rollouts that are kept are run again: the same actions on the same seed repeat them bit for bit.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tensordict import TensorDictBase
from torch import Tensor

from aim_rl.data.files import episode_path, write_episode
from aim_rl.model.presets import Preset
from aim_rl.rollout.policy_recording import repeat
from aim_rl.rollout.recording import record_episodes
from aim_rl.rollout.worker import LOCAL, Transport
from aim_rl.runs.interrupt import Interrupt, ctrl_c_finishes_the_step
from aim_rl.runs.progress import progress
from envs.errors import UserError
from envs.files import atomic_file
from envs.wrappers import EpisodePrefix

BYTES_PER_PIXEL = 0.5  # of an episode file, with all that is in it; clean scenes have 0.35, randomized ones up to 0.43


class RolloutNotes:
    """Seeds and actions of a run's successful rollouts, one per scene, in `<run>/rollout_notes`.

    There is one file per iteration, so that an iteration that a resumed run repeats replaces its own.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "rollout_notes"

    def add(self, iteration: int, rollouts: TensorDictBase) -> None:
        """Notes an iteration's rollouts [N, T], which hold `action`. Raises UserError if the disk refuses."""
        mask, success = rollouts["collector", "mask"], cast(Tensor, rollouts["next", "step_success"])
        executed = rollouts["next", "executed"] & mask[..., None]
        solved = (success & mask[..., None]).flatten(1).any(1)
        noted = {
            str(int(rollouts["seed"][row, 0])): rollouts["action"][row][executed[row]].clone()
            for row in solved.nonzero()[:, 0].tolist()
        }
        with atomic_file(self.folder / f"{iteration:07d}.safetensors") as aside:
            aside.write_bytes(save(noted))

    def latest(self, count: int) -> list[EpisodePrefix]:
        """The last `count` scenes that were solved, or all if they are fewer; in the order of their seeds.

        Raises:
            UserError: a file is damaged.
        """
        found: dict[int, EpisodePrefix] = {}
        for file in sorted(self.folder.glob("*.safetensors"), reverse=True):
            try:
                noted = {int(seed): actions.numpy() for seed, actions in load_file(file).items()}
            except (SafetensorError, OSError, ValueError, TypeError) as error:
                raise UserError(f"{file} is damaged ({error}); delete it to do without its rollouts") from error
            for seed in sorted(noted, reverse=True):
                if len(found) < count:
                    found.setdefault(seed, EpisodePrefix(seed, tuple(noted[seed])))
        return [found[seed] for seed in sorted(found)]

    def delete(self) -> None:
        """Deletes the notes."""
        shutil.rmtree(self.folder, ignore_errors=True)


def disk_need(frames: int, preset: Preset) -> int:
    """About how many bytes the episodes of so many frames take."""
    (height, width), (wrist_height, wrist_width) = preset.head_size, preset.wrist_size
    return round(frames * (height * width + 2 * wrist_height * wrist_width) * BYTES_PER_PIXEL)


def write_rollouts(
    run: Path,
    kept: Sequence[EpisodePrefix],
    preset: Preset,
    make_env: Callable[[], Any],
    setting: str,
    workers: int,
    transport: Transport = LOCAL,
) -> None:
    """Runs rollouts again and writes them as the episodes of the dataset `<run>/rollouts`.

    Episode i is `kept[i]`; those that an interrupted call has written stay.

    Args:
        run: folder of the run.
        kept: seeds and actions.
        preset: of the image sizes.
        make_env: makes a process's environment; can be sent there.
        setting: "clean" or "randomized".
        workers: processes.
        transport: where they run.

    Raises:
        UserError: the disk is too small or refuses, or processes cannot be kept alive.
        KeyboardInterrupt: Ctrl-C, after an episode was written.
    """
    folder = run / "rollouts"
    paths = [episode_path(folder, number) for number in range(len(kept))]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    need, free = disk_need(sum(len(kept[number].actions) for number in missing), preset), shutil.disk_usage(run).free
    size = f"{len(missing)} rollouts to {folder}: about {need / 1e6:.0f} MB, {free / 1e6:.0f} MB are free"
    if need > free:
        raise UserError(f"cannot write {size}; free some space and go on with --resume {run}")
    print(f"Writing {size}")
    recorded = record_episodes(repeat, [kept[number] for number in missing], make_env, setting, workers, transport)
    written, failed = len(kept) - len(missing), 0
    with (
        contextlib.closing(recorded),
        progress("write rollouts", len(kept), "episodes", written) as bar,
        ctrl_c_finishes_the_step(interrupt := Interrupt("this episode")),
    ):
        interrupt.saved = f"{written} episodes"
        for number, (_, episode) in zip(missing, recorded, strict=True):
            assert episode is not None
            write_episode(paths[number], episode)
            written, failed = written + 1, failed + (not episode.success)
            interrupt.begin("this episode")
            interrupt.saved = f"{written} episodes"
            bar.update(written, f"{failed} did not succeed again" if failed else "")
            if interrupt.pressed and written < len(kept):
                raise KeyboardInterrupt(f"stopped after {written} rollouts were written; go on with --resume {run}")

"""Makes the README's animation and curve from a run and two results of `aim_rl.evaluate --json`.

    python -m aim_rl.evaluate --task stack_blocks --json A.json
    python -m aim_rl.evaluate --task stack_blocks --checkpoint RUN --json B.json
    python -m experiments.readme_picture --run RUN --stage1 A.json --stage2 B.json

RUN is a run of `aim_rl.finetune --task stack_blocks`. The animation shows both stages on one held-out seed, chosen by a
rule: the first one that Stage I fails and Stage II solves, by the `succeeded` of both files. Writes `stages.webp` and
`success.png` into --out.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import tyro

from aim_rl.evaluate import EvaluateConfig, choose_checkpoint, make_env, read_outcomes
from aim_rl.model.checkpoint import load_checkpoint
from aim_rl.rl.policy import AimPolicy
from aim_rl.rollout import seeds
from aim_rl.rollout.videos import draw_episode
from aim_rl.runs.statistics import success_rate
from envs.constants import CONTROL_STEP
from envs.errors import UserError, exit_cleanly
from envs.files import atomic_file, read_json
from envs.pictures import DOTS, FRAME, PAPER, Image, legend, text_bar
from experiments.runs import scalars, smooth

TASK = "stack_blocks_two"
SHAPE = (336, 448)  # px, of one stage
EVERY, PACE = 4, 4  # control steps per frame, and how many times as fast as the simulation it plays
PAUSE = 2000  # ms, on the last frame
QUALITY = 60  # of WebP


@dataclass
class PictureConfig:
    """The README's animation and curve."""

    run: Path
    """Run of `aim_rl.finetune` on stack_blocks_two."""
    stage1: Path
    """Result of `aim_rl.evaluate --json` for the shipped Stage I."""
    stage2: Path
    """The same for the run."""
    out: Path = Path("docs")
    """Folder for stages.webp and success.png."""


def choose_seed(stage1: dict[int, bool], stage2: dict[int, bool]) -> int:
    """The first seed that Stage I fails and Stage II solves.

    Raises:
        UserError: there is none.
    """
    gained = [seed for seed in sorted(stage1.keys() & stage2.keys()) if stage2[seed] and not stage1[seed]]
    if not gained:
        raise UserError("no seed of both files is failed by Stage I and solved by Stage II; evaluate more --episodes")
    return gained[0]


def episode(checkpoint: Path, seed: int) -> tuple[list[Image], bool]:
    """Pictures [336, 448, 3] of one episode, and whether it succeeds."""
    policy = AimPolicy(model := load_checkpoint(checkpoint, TASK)[0], model.preset.execute)
    pictures: list[Image] = []

    def show(picture: Image) -> None:
        pictures.append(np.asarray(cv2.resize(picture, SHAPE[::-1], interpolation=cv2.INTER_AREA), np.uint8))

    with contextlib.closing(make_env(EvaluateConfig(task=TASK), model.preset)) as env:
        solved = draw_episode(policy, env, seed, show, EVERY)
    return pictures, solved


def animate(stages: list[tuple[str, list[Image]]], path: Path) -> None:
    """Writes the stages side by side under their titles; one that ends earlier waits on its last picture."""
    frames: list[Image] = []
    for index in range(max(len(pictures) for _, pictures in stages)):
        columns = [
            np.concatenate([text_bar(SHAPE[1], title, weight=600), pictures[min(index, len(pictures) - 1)]])
            for title, pictures in stages
        ]
        gap = np.full((len(columns[0]), 8, 3), PAPER, np.uint8)
        row = np.concatenate([columns[0], gap, columns[1]], 1)
        remarks = ("glow: where the model says that arm acts next", DOTS, FRAME)
        frames.append(np.concatenate([row, legend(row.shape[1], remarks)]))
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in frames]
    pace = round(1000 * EVERY * CONTROL_STEP / PACE)
    animation.durations = np.array([pace] * (len(frames) - 1) + [PAUSE])  # pyright: ignore[reportAttributeAccessIssue]
    with atomic_file(path) as aside:
        cv2.imwriteanimation(str(aside), animation, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])


def plot(run: Path, path: Path) -> None:
    """Success on the validation scenes with its Wilson interval, and of the exploring policy, by environment steps."""
    steps, success = scalars(run, "stage2/validation/success")
    settings = read_json(run / "config.json")
    episodes = settings["validation_episodes"]
    rates = [success_rate(round(share * episodes), episodes) for share in success]
    low, high = ([100 * rate[end] for rate in rates] for end in ("ci_low", "ci_high"))
    figure, axes = plt.subplots(figsize=(4.6, 3.6))
    axes.fill_between(steps / 1000, low, high, color="C0", alpha=0.2, label="Wilson 95 %")
    axes.plot(steps / 1000, 100 * success, "o-", color="C0", label=f"{episodes} validation scenes")
    at, mean = smooth(*scalars(run, "stage2/success"))
    axes.plot(at / 1000, 100 * mean, color="0.5", linewidth=1, label="while exploring")
    axes.set(
        xlabel="environment steps (thousands)",
        ylabel="success (%)",
        ylim=(50, 100),
        title=f"Stage II, training seed {settings['seed']}",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    with atomic_file(path) as aside:
        figure.savefig(aside, dpi=120)


def main() -> None:
    config = tyro.cli(PictureConfig, description=__doc__)
    seed = choose_seed(read_outcomes(config.stage1)[1], read_outcomes(config.stage2)[1])
    stages = []
    for name, checkpoint, expected in (("Stage I", None, False), ("Stage II", config.run, True)):
        pictures, solved = episode(choose_checkpoint(TASK, checkpoint), seed)
        if solved != expected:
            raise UserError(f"{name} does not repeat what its file says about scene {seed}; measure both files again")
        stages.append((f"{name}: {'succeeds' if solved else 'fails'}, held-out scene {seed - seeds.TEST}", pictures))
    animate(stages, config.out / "stages.webp")
    plot(config.run, config.out / "success.png")
    print(f"scene {seed}: {config.out / 'stages.webp'} and success.png are written")


if __name__ == "__main__":
    exit_cleanly(main)

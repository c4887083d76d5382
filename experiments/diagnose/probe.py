"""What the frozen context knows of the bodies' places: a probe on the policy's own episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from aim_rl.runs.progress import progress
from experiments.diagnose.episodes import Episode, Row

FOLDS = 4
WIDTH, STEPS, BATCH, LEARNING_RATE = 256, 1000, 256, 1e-3
SMALLEST = 1e-3  # m or a feature's unit: smaller standard deviations are not scaled up


def table_of_probes(episodes: Sequence[Episode], execute: int, limit: int) -> list[Row]:
    """Errors of the bodies' positions in episodes that the probe was not fitted to, by cross-validation.

    A row per outcome, phase (last interaction) and body: how far the body is from its mean place in the other episodes
    ("constant"), and how far from where each probe sees it; median and 90th percentile in mm. The first rows pool all.

    Args:
        episodes: at least two.
        execute: control steps per decision.
        limit: control steps; later decisions, mostly of a stuck arm, are left out.
    """
    names = list(episodes[0].positions[0])
    counts = [min(len(one.inputs), -(-limit // execute)) for one in episodes]
    decisions = [(one, at) for one, count in zip(episodes, counts, strict=True) for at in range(count)]
    fold = (torch.arange(len(episodes)) % FOLDS).repeat_interleave(torch.tensor(counts))
    places = np.array([[one.positions[at][name] for name in names] for one, at in decisions])
    truth = torch.from_numpy(places).float().flatten(1)
    inputs = {key: torch.stack([one.inputs[at][key] for one, at in decisions]) for key in episodes[0].inputs[0]}
    errors = {key: torch.zeros(len(decisions), len(names)) for key in ("constant", *inputs)}
    folds = fold.unique().tolist()
    with progress("Fit probes", len(folds), "folds") as bar:
        for number in folds:
            unseen = fold == number
            errors["constant"][unseen] = distances(truth[~unseen].mean(0), truth[unseen])
            for key, features in inputs.items():
                found = fit(features[~unseen], truth[~unseen], features[unseen])
                errors[key][unseen] = distances(found, truth[unseen])
            bar.update(number + 1)
    labels = [("solved" if one.solved else "failed", one.phase(at * execute)) for one, at in decisions]
    rows = []
    for outcome, phase in [("all", "all"), *dict.fromkeys(sorted(labels))]:
        own = [number for number, label in enumerate(labels) if phase == "all" or label == (outcome, phase)]
        for column, body in enumerate(names):
            row: Row = {"episodes": outcome, "phase": phase, "body": body, "decisions": len(own)}
            for key, error in errors.items():
                median, tenth = (1000 * error[own, column]).quantile(torch.tensor([0.5, 0.9])).tolist()
                row |= {f"{key}, median": round(median, 1), f"{key}, p90": round(tenth, 1)}
            rows.append(row)
    return rows


def distances(found: Tensor, truth: Tensor) -> Tensor:
    """[n or 1, 3·bodies] and [n, 3·bodies] -> [n, bodies], m."""
    return (found - truth).unflatten(1, (-1, 3)).norm(dim=-1)


def fit(features: Tensor, targets: Tensor, unseen: Tensor) -> Tensor:
    """Fits a small network to features [n, f] and targets [n, k]; returns what it says of unseen features [m, f]."""
    torch.manual_seed(0)
    centre, scale = features.mean(0), features.std(0, correction=0).clamp_min(SMALLEST)
    mean, spread = targets.mean(0), targets.std(0, correction=0).clamp_min(SMALLEST)
    network = nn.Sequential(
        nn.Linear(features.shape[1], WIDTH),
        nn.SiLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.SiLU(),
        nn.Linear(WIDTH, targets.shape[1]),
    )
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    inputs, wanted = (features - centre) / scale, (targets - mean) / spread
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (BATCH,))
        loss = (network(inputs[chosen]) - wanted[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    with torch.no_grad():
        return network((unseen - centre) / scale) * spread + mean

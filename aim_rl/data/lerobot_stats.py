"""Statistics of features as LeRobot keeps them: of every episode, and of all together (its `compute_stats.py`)."""

from __future__ import annotations

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Stats = dict[str, np.ndarray]
"""min, max, mean, std, count and `QUANTILES` of a feature: f64 [n] (pictures [3, 1, 1]); count i64 [1]."""


def vector_stats(values: np.ndarray) -> Stats:
    """Of the frames [T] or [T, n] of an episode. Quantiles are values that occur; LeRobot's are of a histogram."""
    values = values.reshape(len(values), -1).astype(np.float64)
    moments = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    quantiles = np.quantile(values, [*QUANTILES.values()], axis=0, method="inverted_cdf")
    return {**moments, "count": np.array([len(values)]), **dict(zip(QUANTILES, quantiles, strict=True))}


def image_stats(images: np.ndarray) -> Stats:
    """Of the colours in [0, 1] of pictures u8 [T, H, W, 3], from how often each of the 256 values occurs."""
    counts = np.stack([np.bincount(images[..., channel].reshape(-1), minlength=256) for channel in range(3)])
    levels, share = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(1))
    seen = counts > 0
    stats = {"min": levels[seen.argmax(1)], "max": levels[255 - seen[:, ::-1].argmax(1)], "mean": mean, "std": std}
    below = share.cumsum(1)
    stats |= {name: levels[(below < q - 1e-12).sum(1)] for name, q in QUANTILES.items()}
    return {name: each.reshape(3, 1, 1) for name, each in stats.items()} | {"count": np.array([len(images)])}


def aggregate(first: Stats, second: Stats) -> Stats:
    """Of the frames of both. Quantiles of all frames cannot be told from these: as in LeRobot 0.6.1, means of them."""
    count = first["count"] + second["count"]
    weights = first["count"][0] / count[0], second["count"][0] / count[0]

    def weighted(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return weights[0] * one + weights[1] * other

    means = {name: weighted(first[name], second[name]) for name in ("mean", *QUANTILES)}
    variances = [each["std"] ** 2 + (each["mean"] - means["mean"]) ** 2 for each in (first, second)]
    return means | {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "std": np.sqrt(weighted(*variances)),
        "count": count,
    }
